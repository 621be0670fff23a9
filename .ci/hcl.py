"""Writes the language of Terraform: values of a template of CloudFormation as expressions, and blocks as text."""

import json
import re


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def quoted(text):
    return json.dumps(text, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


def is_nothing(value):
    return value == {"Ref": "AWS::NoValue"}


PSEUDO = {
    "AWS::StackName": "local.stack",
    "AWS::Region": "data.aws_region.current.name",
    "AWS::AccountId": "data.aws_caller_identity.current.account_id",
    "AWS::Partition": "data.aws_partition.current.partition",
    "AWS::URLSuffix": "data.aws_partition.current.dns_suffix",
    "AWS::NoValue": "null",
}


class Expressions:
    """The expressions of a template. `references` tells what a reference to a resource is, by its name and attribute (`None` for Ref)."""

    def __init__(self, parameters, references, known):
        self.parameters, self.references, self.known = parameters, references, known

    def of(self, value, extras=None):
        """Any value; `extras` are what `${…}` in a plain text stands for."""
        if value is None:
            return "null"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, float)):
            return str(value)
        if isinstance(value, str):
            return self.substituted(value, extras) if extras else quoted(value)
        if isinstance(value, list):
            items = ", ".join(self.of(each, extras) for each in value)
            optional = any(isinstance(each, dict) and any(map(is_nothing, each.get("Fn::If", []))) for each in value)
            return f"[for each in [{items}] : each if each != null]" if optional else f"[{items}]"
        if len(value) == 1:
            [(function, argument)] = value.items()
            if function == "Ref":
                return self.ref(argument)
            if function == "Fn::GetAtt":
                name, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
                return self.references(name, attribute)
            if function.startswith("Fn::"):
                return getattr(self, function.removeprefix("Fn::").lower())(argument)
        optional = any(isinstance(each, dict) and any(map(is_nothing, each.get("Fn::If", []))) for each in value.values())
        items = ", ".join(f"{quoted(name)} = {self.of(each, extras)}" for name, each in value.items())
        return f"{{ for name, each in {{ {items} }} : name => each if each != null }}" if optional else f"{{ {items} }}"

    def ref(self, name):
        if name in PSEUDO:
            return PSEUDO[name]
        return f"var.{snake(name)}" if name in self.parameters else self.references(name, None)

    def sub(self, argument):
        text, extras = argument if isinstance(argument, list) else (argument, {})
        return self.substituted(text, extras, everything=True)

    def substituted(self, text, extras, everything=False):
        parts = []
        for index, part in enumerate(re.split(r"\$\{([^}]+)\}", text)):
            if index % 2 == 0:
                parts.append(quoted(part)[1:-1])
            elif part in extras:
                parts.append(f"${{{self.of(extras[part])}}}")
            elif not everything or part.startswith("!"):
                parts.append(f"$${{{part.removeprefix('!')}}}")
            else:
                name, _, attribute = part.partition(".")
                parts.append(f"${{{self.references(name, attribute) if attribute else self.ref(name)}}}")
        return '"' + "".join(parts) + '"'

    def condition(self, value):
        if isinstance(value, str):
            return self.known.get(value) or f"local.{snake(value)}"
        [(function, argument)] = value.items()
        if function == "Condition":
            return self.condition(argument)
        if function == "Fn::Not":
            return f"!({self.condition(argument[0])})"
        if function == "Fn::Equals":
            return " == ".join(f"tostring({self.of(each)})" if isinstance(each, dict) else quoted(str(each)) for each in argument)
        if function in ("Fn::And", "Fn::Or"):
            return (" && " if function == "Fn::And" else " || ").join(f"({self.condition(each)})" for each in argument)
        raise ValueError(f"a condition with {function}")

    def split(self, argument):
        return f"split({quoted(argument[0])}, {self.of(argument[1])})"

    def join(self, argument):
        return f"join({quoted(argument[0])}, {self.of(argument[1])})"

    def select(self, argument):
        return f"({self.of(argument[1])})[{argument[0]}]"

    def getazs(self, _):
        return "data.aws_availability_zones.available.names"


def make_if(self, argument):
    """Both branches must be of one type; documents, which are not, go through JSON."""
    condition, yes, no = self.condition(argument[0]), *argument[1:]
    if condition in ("true", "false"):
        return self.of(yes if condition == "true" else no)
    plain = lambda value: not isinstance(value, dict) or any(name == "Ref" or name.startswith("Fn::") for name in value)
    if is_nothing(yes) or is_nothing(no) or plain(yes) and plain(no):
        return f"({condition} ? {self.of(yes)} : {self.of(no)})"
    return f"jsondecode({condition} ? jsonencode({self.of(yes)}) : jsonencode({self.of(no)}))"


setattr(Expressions, "if", make_if)


class Block:
    """A block: its arguments, and blocks in it. `None` as an argument leaves it out."""

    def __init__(self, head, arguments=(), blocks=()):
        self.head, self.arguments, self.blocks = head, dict(arguments), list(blocks)

    def text(self, indent=""):
        inner = indent + "  "
        given = {name: value for name, value in self.arguments.items() if value is not None}
        lines = [f"{indent}{self.head} {{"]
        # As `terraform fmt` aligns what follows without a line between.
        width = max(map(len, given), default=0)
        lines += [f"{inner}{name.ljust(width)} = {value}" for name, value in given.items()]
        for index, block in enumerate(self.blocks):
            lines += ([""] if given or index else []) + [block.text(inner)]
        return "\n".join([*lines, f"{indent}}}"])
