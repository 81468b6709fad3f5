"""Print constraints for pip: the lowest version of every package that pyproject.toml allows.

python tests/oldest.py > constraints.txt
"""

import re
import tomllib
from pathlib import Path


def oldest(requirement: str) -> str | None:
    """`flax==0.12.6` for `flax>=0.12.6,<0.13`; None where there is no lower bound."""
    found = re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)(?:,<[\d.]+)?", requirement)
    return None if found is None else f"{found[1]}=={found[2]}"


def main() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["test"]):
        constraint = oldest(requirement)
        if constraint is None:
            raise SystemExit(f"pyproject.toml: {requirement} has no lower bound")
        print(constraint)


if __name__ == "__main__":
    main()
