"""Check that a wheel holds every tracked file of the package.

Usage: python .ci/check_wheel.py WHEEL, in the repository.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile

PLACES = {"biasgpu/": "biasgpu/", "cli/": "biasgpu/cli/", "kernels/": "biasgpu/kernels/"}
SYMLINK = "120000"


def expected(listing: str) -> set[str]:
    """Names inside the wheel of the files that `git ls-files -s` lists."""
    names = set()
    for line in listing.splitlines():
        about, path = line.split("\t", 1)
        for source, target in PLACES.items():
            if path.startswith(source) and not about.startswith(SYMLINK):
                names.add(target + path.removeprefix(source))
    return names


def main(wheel: str) -> int:
    """Compare, and say what is missing."""
    listing = subprocess.run(
        ["git", "ls-files", "-s"], check=True, capture_output=True, text=True
    ).stdout
    wanted = expected(listing)
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    missing = sorted(wanted - held)
    foreign = sorted(
        name for name in held if not name.startswith("biasgpu") or name.endswith("/tests")
    )
    for name in missing:
        print(f"missing from the wheel: {name}")
    for name in foreign:
        print(f"does not belong into the wheel: {name}")
    if not wanted:
        print("no tracked files were found to compare with")
    print(f"{wheel}: {len(wanted) - len(missing)} of {len(wanted)} tracked files")
    return 1 if missing or foreign or not wanted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
