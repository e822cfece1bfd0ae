"""The checker as a command; ends with 1 where a promise was broken."""

import argparse
import dataclasses

from tests.checker.run import Options, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.checker", description=__doc__)
    for field in dataclasses.fields(Options):
        if field.name == "servers":
            parser.add_argument("--servers", nargs="+", default=list(field.default))
        else:
            name = f"--{field.name.replace('_', '-')}"
            parser.add_argument(name, type=type(field.default), default=field.default)
    arguments = vars(parser.parse_args())
    arguments["servers"] = tuple(arguments["servers"])
    result = run(Options(**arguments))
    print(result.table())
    return 1 if result.verdict.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
