"""What template.yaml makes of a set of parameters: which rules they break, which resources there are. No account is asked."""

import os
import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def tools():
    """The folder of sam, boto3 and their like, which `make` installs; its packages are found from now on."""
    cache = Path(os.environ.get("SMALL_ETL_CACHE") or Path.home() / ".cache/small-etl")
    pins = (PROJECT / ".ci/sam-requirements.txt").read_text()
    folder = cache / f"sam-{re.search(r'(?m)^aws-sam-cli==(.*)$', pins)[1]}"
    sys.path.insert(1, str(folder))
    try:
        import boto3, samtranslator  # the machine may have its own
    except ImportError:
        sys.exit(f"error: {folder} is missing; run .ci/install-sam {folder}")
    return folder


class Template:
    """The template with a set of parameters. Those that are not given have their defaults."""

    def __init__(self, given):
        from samtranslator.yaml_helper import yaml_parse

        self.template = yaml_parse(Path(os.environ.get("TEMPLATE") or PROJECT / "template.yaml").read_text())
        self.declared = self.template["Parameters"]
        self.parameters = {
            name: str(given.get(name, declared.get("Default", ""))) for name, declared in self.declared.items()
        }

    def faults(self):
        """What CloudFormation would refuse before it makes anything."""
        found = []
        for name, declared in self.declared.items():
            value = self.parameters[name]
            if declared["Type"] == "Number":
                try:
                    number = float(value)
                except ValueError:
                    found.append(f"{name} is a number, not {value or 'empty'}")
                    continue
                if not declared.get("MinValue", number) <= number <= declared.get("MaxValue", number):
                    found.append(f"{name} is outside of its bounds: {value}")
            allowed = [str(each) for each in declared.get("AllowedValues", [value])]
            if value not in allowed:
                found.append(f"{name} is one of {', '.join(allowed)}, not {value or 'empty'}")
            if not re.fullmatch(declared.get("AllowedPattern", "(?s).*"), value):
                why = declared.get("ConstraintDescription", f"does not match {declared.get('AllowedPattern')}")
                found.append(f"{name} {why}: {value or 'it is empty'}")
        for rule in self.template["Rules"].values():
            if self.holds(rule.get("RuleCondition", True)):
                found += [each["AssertDescription"] for each in rule["Assertions"] if not self.holds(each["Assert"])]
        return found

    def holds(self, condition):
        """Evaluates a condition, or the name of one."""
        if isinstance(condition, bool):
            return condition
        if isinstance(condition, str):
            return self.holds(self.template["Conditions"][condition])
        [(function, argument)] = condition.items()
        if function == "Condition":
            return self.holds(argument)
        if function == "Fn::Equals":
            left, right = map(self.value, argument)
            return left == right
        if function == "Fn::Not":
            return not self.holds(argument[0])
        if function == "Fn::And":
            return all(map(self.holds, argument))
        if function == "Fn::Or":
            return any(map(self.holds, argument))
        raise ValueError(f"a condition with {function}")

    def value(self, value):
        """Evaluates a text, a parameter, a list of both, or a choice of them; what CloudFormation alone knows stays as it is."""
        if isinstance(value, list):
            return [each for each in map(self.value, value) if each != {"Ref": "AWS::NoValue"}]
        if not isinstance(value, dict):
            return str(value)
        if "Fn::If" in value:
            condition, yes, no = value["Fn::If"]
            return self.value(yes if self.holds(condition) else no)
        if "Fn::Split" in value:
            separator, text = value["Fn::Split"]
            return self.value(text).split(separator)
        return self.parameters.get(value.get("Ref"), value)

    def resources(self):
        """What is made: the properties of each resource, by its type and name."""
        return {
            (resource["Type"], name): resource.get("Properties", {})
            for name, resource in self.template["Resources"].items()
            if self.holds(resource.get("Condition", True))
        }


def deployed(environment):
    """The parameters of the stack; none if there is none, or nobody who may ask."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        stack = boto3.client("cloudformation").describe_stacks(StackName=f"small-etl-{environment}")["Stacks"][0]
    except (BotoCoreError, ClientError) as error:
        return {}, f"the defaults of template.yaml ({str(error).splitlines()[0]})"
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
    return parameters, f"those of the stack small-etl-{environment}"


def of_arguments(environment, arguments):
    """The template with the PARAMETER=VALUE of a script's arguments, and with what the stack remembers; and whose these are."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    remembered, whose = deployed(environment)
    stack = Template({**remembered, **given, "Environment": environment})
    for argument in arguments:
        if "=" not in argument:
            sys.exit(f"error: {argument} is not PARAMETER=VALUE")
    for name in given:
        if name not in stack.declared:
            sys.exit(f"error: template.yaml has no parameter {name}\n    its names are at the top of the file")
    return stack, whose
