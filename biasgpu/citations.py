"""BibTeX for the methods and data that a run used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from biasgpu.run import Run
    from biasgpu.training.trained import Trained

_ENTRIES = {
    "biasgpu": """@software{biasgpu,
  author = {{the biasgpu authors}},
  title  = {biasgpu: sampling networks that fit, from a prior},
  note   = {version %VERSION%}
}""",
    "peleg2024": """@inproceedings{peleg2024bias,
  author    = {Peleg, Amit and Hein, Matthias},
  title     = {Bias of Stochastic Gradient Descent or the Architecture: Disentangling the Effects
               of Overparameterization of Neural Networks},
  booktitle = {International Conference on Machine Learning (ICML)},
  year      = {2024},
  note      = {arXiv:2407.03848}
}""",
    "chiang2023": """@inproceedings{chiang2023loss,
  author    = {Chiang, Ping-yeh and Ni, Renkun and Miller, David Yu and Bansal, Arpit and
               Geiping, Jonas and Goldblum, Micah and Goldstein, Tom},
  title     = {Loss Landscapes are All You Need: Neural Network Generalization Can Be Explained
               Without the Implicit Bias of Gradient Descent},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2023}
}""",
    "salmon2011": """@inproceedings{salmon2011parallel,
  author    = {Salmon, John K. and Moraes, Mark A. and Dror, Ron O. and Shaw, David E.},
  title     = {Parallel Random Numbers: As Easy as 1, 2, 3},
  booktitle = {International Conference for High Performance Computing, Networking, Storage and
               Analysis (SC)},
  year      = {2011},
  doi       = {10.1145/2063384.2063405}
}""",
    "clopper1934": """@article{clopper1934use,
  author  = {Clopper, C. J. and Pearson, E. S.},
  title   = {The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial},
  journal = {Biometrika},
  volume  = {26},
  pages   = {404--413},
  year    = {1934},
  doi     = {10.1093/biomet/26.4.404}
}""",
    "haldane1945": """@article{haldane1945method,
  author  = {Haldane, J. B. S.},
  title   = {On a Method of Estimating Frequencies},
  journal = {Biometrika},
  volume  = {33},
  pages   = {222--225},
  year    = {1945},
  doi     = {10.1093/biomet/33.3.222}
}""",
    "he2015": """@inproceedings{he2015delving,
  author    = {He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian},
  title     = {Delving Deep into Rectifiers: Surpassing Human-Level Performance on {ImageNet}
               Classification},
  booktitle = {IEEE International Conference on Computer Vision (ICCV)},
  year      = {2015},
  doi       = {10.1109/ICCV.2015.123}
}""",
    "cho2009": """@inproceedings{cho2009kernel,
  author    = {Cho, Youngmin and Saul, Lawrence K.},
  title     = {Kernel Methods for Deep Learning},
  booktitle = {Advances in Neural Information Processing Systems (NIPS)},
  year      = {2009}
}""",
    "lee2018": """@inproceedings{lee2018deep,
  author    = {Lee, Jaehoon and Bahri, Yasaman and Novak, Roman and Schoenholz, Samuel S. and
               Pennington, Jeffrey and Sohl-Dickstein, Jascha},
  title     = {Deep Neural Networks as {Gaussian} Processes},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2018}
}""",
    "giraud2005": """@article{giraud2005rounding,
  author  = {Giraud, Luc and Langou, Julien and Rozlo{\\v{z}}n{\\'i}k, Miroslav and
             van den Eshof, Jasper},
  title   = {Rounding Error Analysis of the Classical {Gram-Schmidt} Orthogonalization Process},
  journal = {Numerische Mathematik},
  volume  = {101},
  pages   = {87--100},
  year    = {2005}
}""",
    "lecun1998": """@article{lecun1998gradient,
  author  = {LeCun, Yann and Bottou, L{\\'e}on and Bengio, Yoshua and Haffner, Patrick},
  title   = {Gradient-Based Learning Applied to Document Recognition},
  journal = {Proceedings of the IEEE},
  volume  = {86},
  pages   = {2278--2324},
  year    = {1998},
  doi     = {10.1109/5.726791}
}""",
    "xiao2017": """@misc{xiao2017fashion,
  author = {Xiao, Han and Rasul, Kashif and Vollgraf, Roland},
  title  = {{Fashion-MNIST}: a Novel Image Dataset for Benchmarking Machine Learning Algorithms},
  year   = {2017},
  note   = {arXiv:1708.07747}
}""",
    "clanuwat2018": """@misc{clanuwat2018deep,
  author = {Clanuwat, Tarin and Bober-Irizar, Mikel and Kitamoto, Asanobu and Lamb, Alex and
            Yamamoto, Kazuaki and Ha, David},
  title  = {Deep Learning for Classical {Japanese} Literature},
  year   = {2018},
  note   = {arXiv:1812.01718}
}""",
    "kingma2015": """@inproceedings{kingma2015adam,
  author    = {Kingma, Diederik P. and Ba, Jimmy},
  title     = {Adam: A Method for Stochastic Optimization},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2015},
  note      = {arXiv:1412.6980}
}""",
    "krizhevsky2009": """@techreport{krizhevsky2009learning,
  author      = {Krizhevsky, Alex},
  title       = {Learning Multiple Layers of Features from Tiny Images},
  institution = {University of Toronto},
  year        = {2009}
}""",
}

_ADAM = "kingma2015"
_ALWAYS = ("biasgpu", "peleg2024", "chiang2023", "salmon2011", "clopper1934")
_DATA = {
    "mnist": "lecun1998",
    "fashion-mnist": "xiao2017",
    "kmnist": "clanuwat2018",
    "cifar10": "krizhevsky2009",
}


def keys(run: Run | Trained | None = None) -> list[str]:
    """The entries of `citation(run)`, in order: "biasgpu", "peleg2024", ..."""
    found: list[str] = [*_ALWAYS]
    if run is not None:
        if run.summary().get("stopped_by") == "fits":
            found.append("haldane1945")
        if str(run.prior).startswith("kaiming"):
            found.append("he2015")
        if run.architecture.infinite:
            found += ["cho2009", "lee2018"]
        elif run.experiment.method == "deferred":
            found.append("giraud2005")
        recipe = getattr(run, "recipe", None)
        if recipe is not None and recipe.optimizer == "adam":
            found.append(_ADAM)
        if run.architecture.name == "lenet":
            found.append("lecun1998")
        if run.task.name in _DATA:
            found.append(_DATA[run.task.name])
    return list(dict.fromkeys(found))


def citation(run: Run | Trained | None = None) -> str:
    """BibTeX entries: of guess and check in general, or of exactly what a run used.

    Args:
        run: the run to cite for; None for what every run uses.

    Returns:
        the entries, with an empty line between them.
    """
    from biasgpu import __version__

    return "\n\n".join(_ENTRIES[key].replace("%VERSION%", __version__) for key in keys(run))
