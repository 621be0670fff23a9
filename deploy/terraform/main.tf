# The same stack as template.yaml, for those who deploy with Terraform. stack.tf, rules.tf, variables.tf and outputs.tf are made from the
# template; only this file is written by hand. README.md says how to use it.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.86, < 6.0"
    }
  }
}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_availability_zones" "available" {
  state = "available"
}

variable "ingest_zip" {
  type        = string
  description = "The path of small-etl-VERSION-ingest-ARCHITECTURE.zip of a release"
}

variable "migrate_zip" {
  type        = string
  description = "The path of small-etl-VERSION-migrate-ARCHITECTURE.zip of the same release"
}

# Brings the schema up to date, when its code or its settings change. Nothing takes files before: the alias of ingest, its mappings and
# its schedules come after it. If it fails, the change ends there, and files still go to the version of before.
resource "aws_lambda_invocation" "migrate" {
  function_name = aws_lambda_function.migrate.function_name
  input         = "{}"

  triggers = {
    code     = aws_lambda_function.migrate.source_code_hash
    settings = jsonencode(aws_lambda_function.migrate.environment)
  }

  # The way to the database and to its secret.
  depends_on = [
    aws_vpc_endpoint.secrets_endpoint,
    aws_route_table_association.routes_a,
    aws_route_table_association.routes_b,
    aws_vpc_security_group_egress_rule.function_group_0,
    aws_vpc_security_group_egress_rule.functions_to_database,
    aws_vpc_security_group_ingress_rule.database_from_functions,
    aws_vpc_security_group_ingress_rule.database_group_1,
    aws_vpc_security_group_ingress_rule.endpoint_group_1,
    aws_vpc_security_group_ingress_rule.endpoints_from_vpc,
    terraform_data.rules,
  ]
}
