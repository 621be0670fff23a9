"""moto's server, extended with enough of CloudFormation to deploy template.yaml: `python3 cloudformation.py -H HOST -p PORT`.

It expands the template as AWS does (with samtranslator), checks parameters against their patterns and rules, executes change sets,
and rolls back what fails. A resource of a type that moto does not know is taken as it is written. Functions are invoked at the
address FUNCTION; their log is FUNCTION_LOG. Each resource that is created or changed is printed as a line of JSON: its
name and its properties after all references are resolved; so is each stack: its name, parameters and tags.
"""

import base64
import io
import json
import os
import re
import sys
import traceback
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import urlparse

from moto.awslambda.models import LambdaFunction
from moto.awslambda.urls import url_paths as lambda_urls
from moto.awslambda.utils import get_backend
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.cloudformation import models, parsing, responses
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.parsing import ResourceMap
from moto.core.config import default_user_config
from moto.core.responses import ActionResult
from moto.ec2.models.route_tables import RouteTable
from moto.iam.access_control import IAMRequest
from moto.logs.responses import LogsResponse
from moto.rds.models import DBInstance, DBParameterGroup
from moto.s3.models import s3_backends
from moto.s3.responses import S3Response
from moto.server import main
from moto.stepfunctions.responses import StepFunctionResponse
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse


def note(name, **what):
    # A subnet group refers to itself as an object.
    print(json.dumps({"name": name, **what}, default=lambda group: group.name), flush=True)


# ---- The template


class NoPolicies:
    """The managed policies of AWS, which the template does not name."""

    def load(self):
        return {}


def expanded(self, url):
    bucket, key = urlparse(url).path[1:].split("/", 1)
    template = yaml_parse(s3_backends[self.current_account][self.partition].get_object(bucket, key).value.decode())
    # Names a version of a function; sam leaves all other parameters as they are.
    given = {each["ParameterKey"]: each.get("ParameterValue") for each in self._get_param("Parameters", [])}
    template = transform(template, {name: given[name] for name in ["Release"] if given.get(name)}, NoPolicies())
    for resource in template["Resources"].values():
        if "Topics" in resource.get("Properties", {}):
            resource["Type"] += "::Kafka"  # moto reads queues alone
    return json.dumps(template)


responses.CloudFormationResponse._get_stack_from_s3_url = expanded


def check(template, parameters):
    """Refuses what CloudFormation refuses before it creates anything."""
    for name, declared in template.get("Parameters", {}).items():
        value = str(parameters.get(name, declared.get("Default")))
        if value not in map(str, declared.get("AllowedValues", [value])) or not re.fullmatch(
            declared.get("AllowedPattern", "(?s).*"), value
        ):
            raise ValidationError(message=f"Parameter {name} failed to satisfy constraint: {value}")
    resources = loaded(template, parameters)
    for name, rule in template.get("Rules", {}).items():
        holds = lambda condition: parsing.parse_condition(condition, resources, resources.lazy_condition_map)
        if holds(rule["RuleCondition"]):
            for assertion in rule["Assertions"]:
                if not holds(assertion["Assert"]):
                    raise ValidationError(message=f"Rule {name}: {assertion['AssertDescription']}")


def loaded(template, parameters, stack_id="", stack_name="", region="", account=""):
    resources = ResourceMap(stack_id, stack_name, parameters, {}, region, account, template, None)
    resources.load()
    return resources


create_change_set = models.CloudFormationBackend.create_change_set


def checked_change_set(self, **change):
    # Kept as text. A change set that changes nothing fails.
    change["parameters"] = {name: str(value) for name, value in change["parameters"].items()}
    check(models.Stack.parse_template(change["template"]), change["parameters"])
    return create_change_set(self, **change)


models.CloudFormationBackend.create_change_set = checked_change_set

# ---- Its resources


class Unknown:
    """A resource that moto does not know."""

    def __init__(self, name):
        self.physical_resource_id = name

    has_cfn_attr = classmethod(lambda cls, name: True)
    cloudformation_name_type = staticmethod(lambda: None)
    create_from_cloudformation_json = classmethod(lambda cls, name, *_, **__: cls(name))

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, **_):
        return original_resource

    def get_cfn_attribute(self, name):
        return f"arn:aws:moto:::{self.physical_resource_id}/{name}"

    def is_created(self):
        return True

    def delete(self, account, region):
        pass


class Version(Unknown):
    """A published version, which outlives its resource."""

    @classmethod
    def create_from_cloudformation_json(cls, name, cloudformation_json, account_id, region_name, **_):
        functions, function = get_backend(account_id, region_name), cloudformation_json["Properties"]["FunctionName"]
        before = {each.function_arn for each in functions.list_versions_by_function(function)}
        published = functions.publish_version(function)
        if published.function_arn in before:
            raise ValueError(f"A version for this Lambda function exists ( {published.version} ). Modify the function to create a new version.")
        made = cls(published.function_arn)
        made.version = str(published.version)
        return made

    def get_cfn_attribute(self, name):
        return self.version


class Alias(Unknown):
    """The name of a version. A mapping goes to the version of the time at which it was made: moto follows no alias later."""

    @classmethod
    def create_from_cloudformation_json(cls, name, cloudformation_json, account_id, region_name, **_):
        given = cloudformation_json["Properties"]
        functions = get_backend(account_id, region_name)
        return cls(functions.create_alias(given["Name"], given["FunctionName"], given["FunctionVersion"], "", None).arn)

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, cloudformation_json, account_id, region_name, **_):
        given = cloudformation_json["Properties"]
        get_backend(account_id, region_name).update_alias(given["Name"], given["FunctionName"], given["FunctionVersion"], "", None)
        return original_resource


of_type = parsing.resource_class_from_type
OWN = {"AWS::Lambda::Version": Version, "AWS::Lambda::Alias": Alias}
# moto asks for a role that AWS has by itself.
OWN |= {f"AWS::Batch::{kind}": Unknown for kind in ("ComputeEnvironment", "JobDefinition", "JobQueue")}
parsing.resource_class_from_type = lambda name: OWN.get(name) or of_type(name) or Unknown

resolve = parsing.parse_resource_and_generate_name


def without_nothing(value):
    """moto leaves null where AWS::NoValue takes a property or an item away, and refuses a policy for it."""
    if isinstance(value, list):
        return [without_nothing(each) for each in value if each is not None]
    if isinstance(value, dict):
        return {name: without_nothing(each) for name, each in value.items() if each is not None}
    return value


def noted(name, resource, resources):
    result = resolve(name, resource, resources)
    properties = result[1]["Properties"] = without_nothing(result[1]["Properties"])
    for variables in (properties.get("Environment") or {}).values():
        variables.update({variable: str(value) for variable, value in variables.items()})
    note(name, properties=properties)
    return result


parsing.parse_resource_and_generate_name = noted

# What moto cannot change stays as it is.
change_resource = parsing.parse_and_update_resource
parsing.parse_and_update_resource = lambda name, resource, resources, **where: (
    change_resource(name, resource, resources, **where) or resources[name]
)

# Attributes that the template reads and that moto does not have.
attribute = DBInstance.get_cfn_attribute
OF_DATABASE = {
    "DbiResourceId": "db-MOTO",
    "MasterUserSecret.SecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-moto",
}
DBInstance.get_cfn_attribute = lambda self, name: OF_DATABASE.get(name) or attribute(self, name)
made_database = DBInstance.create_from_cloudformation_json


def protected_database(name, cloudformation_json, *where, **options):
    database = made_database(name, cloudformation_json, *where, **options)
    database.deletion_protection = cloudformation_json["Properties"].get("DeletionProtection") is True
    return database


DBInstance.create_from_cloudformation_json = protected_database
DBParameterGroup.physical_resource_id = property(lambda self: self.name)

# ---- Its changes


def difference(self, template, parameters=None):
    """moto compares texts; a resource also changes with a parameter or a condition that it names."""
    old, new = self._resource_json_map, template["Resources"]
    after = loaded(template, parameters or self.input_parameters, self.stack_id, self["AWS::StackName"], self._region_name)
    before = self.lazy_condition_map
    changed = {name for name in after.lazy_condition_map if after.lazy_condition_map[name] != before.get(name)}
    changed |= {name for name, value in after.resolved_parameters.items() if value != self.resolved_parameters.get(name)}
    lives = lambda name, resources, conditions: (
        name in resources and conditions.get(resources[name].get("Condition"), "Condition" not in resources[name])
    )
    was = {name for name in old if lives(name, old, before)}
    will = [name for name in new if lives(name, new, after.lazy_condition_map)]
    named = lambda name: any(re.search(rf'"{key}"|\${{{key}}}', json.dumps(new[name])) for key in changed)
    # A version is published after its function has changed. moto adds before it changes; what is to be changed and is not there is added.
    late = {name for name in will if new[name]["Type"] == "AWS::Lambda::Version" and new[name]["Properties"]["FunctionName"]["Ref"] in was}
    added = {name for name in will if name not in was}
    return {
        "Add": [name for name in will if name in added - late],
        "Modify": [name for name in will if name in added & late or name in was and (old[name] != new[name] or named(name))],
        "Remove": [name for name in was if name not in will],
    }


ResourceMap.build_resource_diff = difference


def execute_change_set(self, change_set_name, stack_name=None):
    change = self.describe_change_set(change_set_name)
    stack, kind = change.stack, change.change_set_type

    def event(status, reason=None):
        stack.status = status
        stack._add_stack_event(status, resource_status_reason=reason)

    event(f"{kind}_IN_PROGRESS")
    try:
        stack.resource_map.update(change.template_dict, change.parameters)
    except Exception as error:
        traceback.print_exc()
        event(f"{kind}_FAILED", str(error))
        return event("ROLLBACK_COMPLETE" if kind == "CREATE" else "UPDATE_ROLLBACK_COMPLETE")
    stack.template, stack.template_dict = change.template, change.template_dict
    stack.parameters = {name: str(value) for name, value in stack.resource_map.resolved_parameters.items()}
    stack.tags = change.tags or {}
    stack.output_map = stack._create_output_map()
    note(stack.name, parameters=stack.parameters, tags=stack.tags)
    event(f"{kind}_COMPLETE")


models.CloudFormationBackend.execute_change_set = execute_change_set

# ---- The end of a stack


def remove(stack, name):
    """Deletes a resource as its policy says; what is kept is left where it is."""
    resources, made = stack.resource_map._resource_json_map, stack.resource_map._parsed_resources[name]
    policy = resources[name].get("DeletionPolicy", "Delete")
    if policy.startswith("Retain"):
        return
    if isinstance(made, DBInstance):
        if made.deletion_protection:
            raise ValueError(f"Cannot delete a protected DB Instance: {made.db_instance_identifier}")
        if policy == "Snapshot":
            snapshot = f"{stack.name}-snapshot-{name.lower()}-1"
            made.backend.create_db_snapshot(made.db_instance_identifier, snapshot)
    if isinstance(made, RouteTable):  # moto leaves it to its network, which then cannot be deleted
        return made.ec2_backend.delete_route_table(made.id)
    stack.resource_map._delete_resource(made, resources[name])


def delete_stack(self, name_or_stack_id):
    stack = next((stack for stack in self.stacks.values() if name_or_stack_id in (stack.name, stack.stack_id)), None)
    if stack is None:
        return  # as CloudFormation does
    stack.status = "DELETE_IN_PROGRESS"
    stack._add_stack_event(stack.status, resource_status_reason="User Initiated")
    made, left = stack.resource_map._parsed_resources, None
    # Each before what it refers to; where the order is another, a second round finds nothing in its way.
    while (names := [name for name in stack.resource_map._resource_json_map if made.get(name)]) != left:
        left, reasons = names, {}
        for name in reversed(names):
            try:
                remove(stack, name)
            except Exception as error:
                reasons[name] = str(error)
            else:
                # Or moto would make it anew when it is asked for it.
                del made[name], stack.resource_map._resource_json_map[name]
    if left:
        stack.status = "DELETE_FAILED"
        return stack._add_stack_event(stack.status, resource_status_reason=f"could not delete {reasons}")
    stack.status = "DELETE_COMPLETE"
    stack._add_stack_event(stack.status)
    self.deleted_stacks[stack.stack_id] = self.stacks.pop(stack.stack_id)


models.CloudFormationBackend.delete_stack = delete_stack

# ---- What the deployment calls


def invoke(self, function_name, qualifier, body, headers, response_headers):
    address, log = os.environ["FUNCTION"], Path(os.environ["FUNCTION_LOG"])
    # Beside the log is the address of ingest, once it has been started.
    ingest = log.with_name("ingest.address")
    if "-Ingest-" in function_name and ingest.exists():
        address, log = ingest.read_text(), log.with_name("ingest.log")
    body = body if isinstance(body, bytes) else (body or "{}").encode()
    with urllib.request.urlopen(address, body) as response:
        answer = response.read()
    if b'"errorType"' in answer:
        response_headers["x-amz-function-error"] = "Unhandled"
    log = log.read_bytes()[-4096:]
    response_headers["x-amz-log-result"] = base64.b64encode(log).decode()
    return answer


# What a function is given besides its stack: the names in the zip.
update_code = LambdaFunction.update_function_code


def noted_code(self, spec):
    if "ZipFile" in spec:  # not from a bucket, as a stack has it
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(spec["ZipFile"]))) as code:
            note(self.function_name, names=code.namelist())
    return update_code(self, spec)


LambdaFunction.update_function_code = noted_code

# moto signs what stands in the path of a request as if it were its body.
signed_request = IAMRequest._create_aws_request


def request_without_body(self):
    if self._method == "GET" and self._service == "lambda":
        self._data = {}
    return signed_request(self)


IAMRequest._create_aws_request = request_without_body

default_user_config["lambda"]["use_docker"] = False
LambdaSimpleBackend.invoke = invoke

# moto accepts this part of a bucket's notifications but does not return it.
notification = S3Response.get_bucket_notification


def whole_notification(self):
    status, headers, body = notification(self)
    kept = self.backend.get_bucket_notification_configuration(self.bucket_name)
    if kept and kept.event_bridge is not None:
        body = body.replace("</NotificationConfiguration>", "<EventBridgeConfiguration/></NotificationConfiguration>")
    return status, headers, body


S3Response.get_bucket_notification = whole_notification

# ---- What Terraform calls besides; moto does not know it

QUERIES = {}


def put_query_definition(self):
    number = self._get_param("queryDefinitionId") or self._get_param("name")
    QUERIES[number] = {name: self._get_param(name) for name in ("name", "logGroupNames", "queryString")} | {"queryDefinitionId": number}
    return json.dumps({"queryDefinitionId": number})


LogsResponse.put_query_definition = put_query_definition
LogsResponse.describe_query_definitions = lambda self: json.dumps({"queryDefinitions": list(QUERIES.values())})
LogsResponse.delete_query_definition = lambda self: json.dumps({"success": bool(QUERIES.pop(self._get_param("queryDefinitionId"), None))})
StepFunctionResponse.validate_state_machine_definition = lambda self: ActionResult({"result": "OK", "diagnostics": []})
StepFunctionResponse.list_state_machine_versions = lambda self: ActionResult({"stateMachineVersions": []})


def recursion(request, full_url, headers):
    loop = json.loads(request.data)["RecursiveLoop"] if request.data else "Allow"
    return 200, {}, json.dumps({"RecursiveLoop": loop})


lambda_urls[r"{0}/2024-08-31/functions/(?P<function_name>[\w_:%-]+)/recursion-config$"] = recursion

if __name__ == "__main__":
    main(sys.argv[1:])
