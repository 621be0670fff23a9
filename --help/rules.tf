# Made from template.yaml by `make terraform`. Change that.

locals {
  stack                = "small-etl-${var.environment}"
  prod                 = tostring(var.environment) == "prod"
  new_bucket           = tostring(var.existing_bucket) == ""
  old_bucket           = !(local.new_bucket)
  old_versions_given   = !(tostring(var.old_versions_days) == "")
  new_vpc              = tostring(var.vpc_id) == ""
  zones_given          = !(tostring(var.availability_zones) == "")
  one_zone             = (local.new_vpc) && (tostring(var.environment) == "dev")
  endpoints            = (local.new_vpc) || (tostring(var.create_vpc_endpoints) == "yes")
  old_vpc_endpoints    = (local.endpoints) && (!(local.new_vpc))
  new_database         = tostring(var.database_host) == ""
  backup_days_given    = !(tostring(var.backup_retention_days) == "")
  database_group_given = (!(local.new_database)) && (!(tostring(var.database_security_group_id) == ""))
  database_group_known = (local.new_database) || (local.database_group_given)
  iam_login            = tostring(var.ingest_secret_arn) == ""
  column_key           = !(tostring(var.kms_key_arn) == "")
  column_key_endpoint  = (local.endpoints) && (local.column_key)
  lake                 = !(tostring(var.lake_prefix) == "")
  landing              = !(tostring(var.landing_prefix) == "")
  fetching             = !(tostring(var.fetch_url) == "")
  fetch_secret         = !(tostring(var.fetch_secret_arn) == "")
  streaming            = !(tostring(var.kafka_cluster_arn) == "")
  announcing           = !(tostring(var.event_bus_name) == "")
  events_endpoint      = (local.endpoints) && (local.announcing)
  existing_keys        = !(tostring(var.existing_key_arns) == "")
  reserved             = !(tostring(var.reserved_concurrency) == "0")
  large                = tostring(var.large_files) == "fargate"
  large_endpoints      = (local.endpoints) && (local.large)
  little_memory        = tostring(var.large_files_memory) == "4096"
  much_memory          = tostring(var.large_files_memory) == "16384"
  arm                  = tostring(var.architecture) == "arm64"
  mail                 = !(tostring(var.alarm_email) == "")
}

resource "terraform_data" "rules" {
  lifecycle {
    precondition {
      condition     = !(!(tostring(var.vpc_id) == "")) || (!(tostring(var.subnet_ids) == ""))
      error_message = "VpcId needs SubnetIds."
    }

    precondition {
      condition     = !(!(tostring(var.vpc_id) == "")) || ((tostring(var.create_vpc_endpoints) == "no") || (!(tostring(var.route_table_ids) == "")))
      error_message = "endpoints in an existing VPC need RouteTableIds; or set CreateVpcEndpoints=no."
    }

    precondition {
      condition     = !(!(tostring(var.vpc_id) == "")) || ((tostring(var.create_vpc_endpoints) == "no") || (!(tostring(var.vpc_cidr) == "")))
      error_message = "endpoints in an existing VPC need VpcCidr; or set CreateVpcEndpoints=no."
    }

    precondition {
      condition     = !(!(tostring(var.availability_zones) == "")) || (tostring(var.vpc_id) == "")
      error_message = "AvailabilityZones are those of a new VPC; the zones of one that exists are those of SubnetIds."
    }

    precondition {
      condition     = !(!(tostring(var.database_host) == "")) || (!(tostring(var.vpc_id) == ""))
      error_message = "an existing database cannot be reached from a new VPC; set VpcId and SubnetIds."
    }

    precondition {
      condition     = !(!(tostring(var.database_host) == "")) || (!(tostring(var.database_secret_arn) == ""))
      error_message = "DatabaseHost needs DatabaseSecretArn, which migrate logs in with."
    }

    precondition {
      condition     = !(!(tostring(var.database_host) == "")) || ((!(tostring(var.database_resource_id) == "")) || (!(tostring(var.ingest_secret_arn) == "")))
      error_message = "DatabaseHost needs DatabaseResourceId (IAM login) or IngestSecretArn, which ingest logs in with."
    }

    precondition {
      condition     = !(!(tostring(var.kafka_cluster_arn) == "")) || (!(tostring(var.kafka_topic) == ""))
      error_message = "KafkaClusterArn needs KafkaTopic."
    }

    precondition {
      condition     = !(!(tostring(var.kafka_cluster_arn) == "")) || (!(tostring(var.landing_prefix) == ""))
      error_message = "KafkaClusterArn needs LandingPrefix, where records are landed."
    }

    precondition {
      condition     = !(!(tostring(var.kafka_cluster_arn) == "")) || (!(tostring(var.reserved_concurrency) == "0"))
      error_message = "partitions are read in parallel; set ReservedConcurrency=4 to stay within the connections."
    }

    precondition {
      condition     = !(!(tostring(var.fetch_url) == "")) || (!(tostring(var.landing_prefix) == ""))
      error_message = "FetchUrl needs LandingPrefix, where files are landed."
    }

    precondition {
      condition     = !(!(tostring(var.fetch_url) == "")) || (!(tostring(var.vpc_id) == ""))
      error_message = "a new VPC has no route to the internet; FetchUrl needs VpcId and SubnetIds that have one."
    }

    precondition {
      condition     = !(!(tostring(var.fetch_url) == "")) || (!(tostring(var.reserved_concurrency) == "0"))
      error_message = "a fetch does not go through the queue; set ReservedConcurrency=4 to stay within the connections."
    }

    precondition {
      condition     = !(tostring(var.large_files) == "fargate") || (!(tostring(var.large_files_image) == ""))
      error_message = "LargeFiles=fargate needs LargeFilesImage, the image that it runs."
    }

    precondition {
      condition     = !(tostring(var.large_files) == "fargate") || ((tostring(var.reserved_concurrency) == "0") || (tostring(var.reserved_concurrency) == "2") || (tostring(var.reserved_concurrency) == "3"))
      error_message = "a large file takes two of the nine connections; with LargeFiles=fargate ReservedConcurrency is 0, 2 or 3."
    }

    precondition {
      condition     = !(!(tostring(var.old_versions_days) == "")) || (tostring(var.existing_bucket) == "")
      error_message = "OldVersionsDays is for a new bucket; one that exists has lifecycle rules of its own."
    }

    precondition {
      condition     = !(!(tostring(var.backup_retention_days) == "")) || (tostring(var.database_host) == "")
      error_message = "BackupRetentionDays is for a new database; the one at DatabaseHost has backups of its own."
    }

    precondition {
      condition     = !(tostring(var.database_host) == "") || ((tostring(var.database_secret_arn) == "") && (tostring(var.ingest_secret_arn) == ""))
      error_message = "a new database creates its own secret; DatabaseSecretArn and IngestSecretArn need DatabaseHost."
    }
  }
}
