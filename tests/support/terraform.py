"""Holds the module in deploy/terraform against template.yaml: `python3 terraform.py` prints what is wrong.

It reads both as they are, without the script that makes the one from the other: the files are valid HCL; each resource of the template
has a block of its name, with a count if it has a condition; each text and number among its properties is in its blocks; each parameter
is a variable with the same default.
"""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / ".ci"))
import template

template.tools()
from hcl import snake
import hcl2

MODULE = template.PROJECT / "deploy/terraform"
# What is sam's, or of the deployment by sam.
WORDS_OF_SAM = {"CodeUri", "AutoPublishAlias", "AutoPublishCodeSha256", "Events", "Type"}
NOT_PARAMETERS = {"AcceptEvents", "SchemaVersion", "Release"}


def literals(value):
    """The texts and numbers of a value, without what refers to something else."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name in ("Ref", "Fn::GetAtt", "Condition") and isinstance(each, (str, list)) or name in WORDS_OF_SAM:
                continue
            # Terraform has an order instead of a first change in which nothing is accepted.
            accepting = name == "Fn::If" and each[0] == "Accepting"
            yield from literals(each[1:2] if accepting else each[1:] if name == "Fn::If" else each)
    elif isinstance(value, list):
        for each in value:
            yield from literals(each)
    elif isinstance(value, str):
        yield from (part for part in re.split(r"\$\{[^}]*\}", value) if part)
    elif not isinstance(value, bool):
        yield str(value)


def blocks():
    """The text of each resource, by its name."""
    found = {}
    for name, body in re.findall(r'(?ms)^resource "\w+" "(\w+)" \{\n(.*?)^\}', (MODULE / "stack.tf").read_text()):
        found[name] = found.get(name, "") + body
    return found


def main():
    faults, text = [], template.Template({}).template
    parsed = {path.name: hcl2.loads(path.read_text()) for path in sorted(MODULE.glob("*.tf"))}
    made = blocks()
    for name, resource in text["Resources"].items():
        own = {each for each in made if re.fullmatch(rf"{snake(name)}(_\d+)?", each)}
        if not own:
            faults.append(f"{name} is not in the module")
        if "Condition" in resource and not all("count" in made[each] for each in own):
            faults.append(f"{name} has no count")
        inside = "".join(made[each] for each in own)
        for literal in literals(resource.get("Properties", {})):
            if json.dumps(literal, ensure_ascii=False)[1:-1] not in inside:
                faults.append(f"{name} lacks {literal!r}")
    variables = {name: each for block in parsed["variables.tf"]["variable"] for name, each in block.items()}
    for name, declared in text["Parameters"].items():
        if name in NOT_PARAMETERS:
            continue
        # A list, of a text in quotes or of a number, by the version of the parser.
        default = variables.get(snake(name), {}).get("default")
        default = str(default[0] if isinstance(default, list) else default).strip('"')
        if default != str(declared.get("Default", "")):
            faults.append(f"the variable {snake(name)} has the default {default}")
    sys.exit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
