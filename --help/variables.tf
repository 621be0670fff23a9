# Made from template.yaml by `make terraform`. Change that.

variable "environment" {
  type        = string
  default     = "dev"
  description = "Chooses the settings; prod keeps a new database in two zones and its backups for 35 days"

  validation {
    condition     = contains(["dev", "test", "prod"], var.environment)
    error_message = "It is one of dev, test, prod."
  }
}

variable "architecture" {
  type        = string
  default     = "arm64"
  description = "The processor of both functions; arm64 costs a fifth less"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "It is one of arm64, x86_64."
  }
}

variable "existing_bucket" {
  type        = string
  default     = ""
  description = "An existing bucket where the files arrive; empty creates one. Let a lifecycle rule delete its rejects/ too"
}

variable "incoming_prefix" {
  type        = string
  default     = "incoming/"
  description = "Only objects below this prefix are loaded"

  validation {
    condition     = can(regex("^([^*?]+/)$", var.incoming_prefix))
    error_message = "IncomingPrefix ends with / and has no * or ?."
  }
}

variable "rejects_retention_days" {
  type        = number
  default     = 365
  description = "How many days after a load its rejects, their file and its report are deleted"

  validation {
    condition     = var.rejects_retention_days >= 1
    error_message = "It is at least 1."
  }
}

variable "old_versions_days" {
  type        = string
  default     = ""
  description = "In a new bucket, so many days after a file was replaced or deleted its old version is deleted, too; empty keeps them. Not less than RejectsRetentionDays, or a reject may outlive the line that it came from"

  validation {
    condition     = can(regex("^(^$|^[1-9][0-9]{0,4}$)$", var.old_versions_days))
    error_message = "OldVersionsDays is a number of days, or empty."
  }
}

variable "reserved_concurrency" {
  type        = number
  default     = 0
  description = "Invocations of ingest at once, however started. 4 keeps direct calls within the connections, too; 0 sets no bound, since a new account of AWS allows none"

  validation {
    condition     = var.reserved_concurrency >= 0
    error_message = "It is at least 0."
  }
}

variable "large_files" {
  type        = string
  default     = "none"
  description = "Where files go that are larger than the disk or the time of ingest. With fargate, AWS Batch starts `small-etl load` for them, one after another; with none they fail with the reason too_large"

  validation {
    condition     = contains(["none", "fargate"], var.large_files)
    error_message = "It is one of none, fargate."
  }
}

variable "large_files_image" {
  type        = string
  default     = ""
  description = "The image for LargeFiles=fargate: the target cli of the Dockerfile, in a repository of this account and region, for Architecture"

  validation {
    condition     = can(regex("^(^$|^[0-9]{12}\\.dkr\\.ecr\\.[a-z0-9-]+\\.amazonaws\\.com/[a-z0-9._/-]+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$)$", var.large_files_image))
    error_message = "LargeFilesImage is ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG."
  }
}

variable "large_files_disk" {
  type        = number
  default     = 200
  description = "The disk of LargeFiles=fargate in GB; it holds the unpacked file and about as much again"

  validation {
    condition     = var.large_files_disk >= 21
    error_message = "It is at least 21."
  }

  validation {
    condition     = var.large_files_disk <= 200
    error_message = "It is at most 200."
  }
}

variable "large_files_memory" {
  type        = number
  default     = 8192
  description = "The memory of LargeFiles=fargate in MB, of which the staging database gets half"

  validation {
    condition     = contains([4096, 8192, 16384], var.large_files_memory)
    error_message = "It is one of 4096, 8192, 16384."
  }
}

variable "vpc_id" {
  type        = string
  default     = ""
  description = "An existing VPC, with SubnetIds; empty creates a private one"

  validation {
    condition     = can(regex("^(^$|^vpc-[0-9a-f]+$)$", var.vpc_id))
    error_message = "VpcId matches ^$|^vpc-[0-9a-f]+$."
  }
}

variable "availability_zones" {
  type        = string
  default     = ""
  description = "Of a new VPC, like eu-central-1a,eu-central-1b. Empty takes the first two; name others where one of those has no Lambda, no endpoints, or not the DatabaseClass"

  validation {
    condition     = can(regex("^(^$|^[a-z0-9-]+,[a-z0-9-]+$)$", var.availability_zones))
    error_message = "AvailabilityZones two zones, with a comma and no spaces."
  }
}

variable "subnet_ids" {
  type        = string
  default     = ""
  description = "Private subnets of VpcId, in two zones or more"

  validation {
    condition     = can(regex("^(^$|^subnet-[0-9a-f]+(,subnet-[0-9a-f]+)+$)$", var.subnet_ids))
    error_message = "SubnetIds two subnets or more, with commas and no spaces."
  }
}

variable "create_vpc_endpoints" {
  type        = string
  default     = "yes"
  description = "no if an existing VPC already reaches S3, SQS, Secrets Manager and KMS; a new VPC always gets endpoints"

  validation {
    condition     = contains(["yes", "no"], var.create_vpc_endpoints)
    error_message = "It is one of yes, no."
  }
}

variable "route_table_ids" {
  type        = string
  default     = ""
  description = "The route tables of SubnetIds, if the stack creates endpoints in an existing VPC; the route to S3 is added to them"

  validation {
    condition     = can(regex("^(^$|^rtb-[0-9a-f]+(,rtb-[0-9a-f]+)*$)$", var.route_table_ids))
    error_message = "RouteTableIds matches ^$|^rtb-[0-9a-f]+(,rtb-[0-9a-f]+)*$."
  }
}

variable "vpc_cidr" {
  type        = string
  default     = ""
  description = "The address range of VpcId, if the stack creates endpoints there; everything else in that VPC then uses them too, so they let it in"

  validation {
    condition     = can(regex("^(^$|^[0-9.]+/[0-9]+$)$", var.vpc_cidr))
    error_message = "VpcCidr matches ^$|^[0-9.]+/[0-9]+$."
  }
}

variable "database_host" {
  type        = string
  default     = ""
  description = "The host of an existing Postgres, with VpcId and DatabaseSecretArn; empty creates a database"
}

variable "database_port" {
  type        = number
  default     = 5432
  description = "The port of the database server"
}

variable "database_name" {
  type        = string
  default     = "small_etl"
  description = "The database on that server"

  validation {
    condition     = can(regex("^([a-z][a-z0-9_]{0,62})$", var.database_name))
    error_message = "DatabaseName matches [a-z][a-z0-9_]{0,62}."
  }
}

variable "database_class" {
  type        = string
  default     = "db.t4g.small"
  description = "The instance class of a new database; an account on the free plan of AWS takes db.t4g.micro"
}

variable "backup_retention_days" {
  type        = string
  default     = ""
  description = "So many days the backups of a new database are kept; empty is 35 in prod and 7 elsewhere. An account on the free plan of AWS may keep them for 1"

  validation {
    condition     = can(regex("^(^$|^([1-9]|[12][0-9]|3[0-5])$)$", var.backup_retention_days))
    error_message = "BackupRetentionDays is 1 to 35, or empty."
  }
}

variable "database_secret_arn" {
  type        = string
  default     = ""
  description = "The secret (username, password) of an existing database's owner, for migrate"

  validation {
    condition     = can(regex("^(^$|^arn:aws[a-z-]*:secretsmanager:.+)$", var.database_secret_arn))
    error_message = "DatabaseSecretArn matches ^$|^arn:aws[a-z-]*:secretsmanager:.+."
  }
}

variable "database_security_group_id" {
  type        = string
  default     = ""
  description = "The security group of an existing database, which then lets the functions in. Empty if it already lets the subnets in"

  validation {
    condition     = can(regex("^(^$|^sg-[0-9a-f]+$)$", var.database_security_group_id))
    error_message = "DatabaseSecurityGroupId matches ^$|^sg-[0-9a-f]+$."
  }
}

variable "database_resource_id" {
  type        = string
  default     = ""
  description = "The resource id of an existing database with IAM logins, such as db-ABC123; ingest then logs in with a token"

  validation {
    condition     = can(regex("^(^$|^(db|cluster)-[A-Za-z0-9]+$)$", var.database_resource_id))
    error_message = "DatabaseResourceId matches ^$|^(db|cluster)-[A-Za-z0-9]+$."
  }
}

variable "ingest_secret_arn" {
  type        = string
  default     = ""
  description = "The secret of small_etl_ingest in an existing database without IAM logins"

  validation {
    condition     = can(regex("^(^$|^arn:aws[a-z-]*:secretsmanager:.+)$", var.ingest_secret_arn))
    error_message = "IngestSecretArn matches ^$|^arn:aws[a-z-]*:secretsmanager:.+."
  }
}

variable "existing_key_arns" {
  type        = string
  default     = ""
  description = "Your own KMS keys that encrypt an existing bucket or existing secrets, with commas"

  validation {
    condition     = can(regex("^(^$|^arn:aws[a-z-]*:kms:[^,]+:key/[^,]+(,arn:aws[a-z-]*:kms:[^,]+:key/[^,]+)*$)$", var.existing_key_arns))
    error_message = "ExistingKeyArns matches ^$|^arn:aws[a-z-]*:kms:[^,]+:key/[^,]+(,arn:aws[a-z-]*:kms:[^,]+:key/[^,]+)*$."
  }
}

variable "kms_key_arn" {
  type        = string
  default     = ""
  description = "The KMS key for columns of datasets with `encrypt = true`"

  validation {
    condition     = can(regex("^(^$|^arn:aws[a-z-]*:kms:.+:key/.+$)$", var.kms_key_arn))
    error_message = "KmsKeyArn matches ^$|^arn:aws[a-z-]*:kms:.+:key/.+$."
  }
}

variable "event_bus_name" {
  type        = string
  default     = ""
  description = "A bus of EventBridge in this account and region, such as default, that is told of loads, rejects and nightly runs; empty tells nobody"

  validation {
    condition     = can(regex("^(^$|^[A-Za-z0-9._/-]+$)$", var.event_bus_name))
    error_message = "EventBusName matches ^$|^[A-Za-z0-9._/-]+$."
  }
}

variable "lake_prefix" {
  type        = string
  default     = ""
  description = "Where in the bucket the loader parquet may write; empty means nowhere"

  validation {
    condition     = can(regex("^(^$|^[^*?]+/$)$", var.lake_prefix))
    error_message = "LakePrefix ends with / and has no * or ?."
  }
}

variable "landing_prefix" {
  type        = string
  default     = ""
  description = "Where in the bucket, below IncomingPrefix, the extractors http and kafka may write; empty means nowhere"

  validation {
    condition     = can(regex("^(^$|^[^*?]+/$)$", var.landing_prefix))
    error_message = "LandingPrefix ends with / and has no * or ?."
  }
}

variable "fetch_url" {
  type        = string
  default     = ""
  description = "The URL that the extractor http fetches on a schedule; the subnets need a route to it"

  validation {
    condition     = can(regex("^(^$|^https://[^:/\"\\\\]+/[^\"\\\\]*$)$", var.fetch_url))
    error_message = "FetchUrl https://HOST/PATH; only port 443 is allowed."
  }
}

variable "fetch_dataset" {
  type        = string
  default     = "trade"
  description = "The dataset of FetchUrl"

  validation {
    condition     = can(regex("^([a-z][a-z0-9_]*)$", var.fetch_dataset))
    error_message = "FetchDataset matches [a-z][a-z0-9_]*."
  }
}

variable "fetch_schedule" {
  type        = string
  default     = "rate(1 hour)"
  description = "When FetchUrl is fetched, in the form of EventBridge Scheduler"
}

variable "fetch_secret_arn" {
  type        = string
  default     = ""
  description = "The secret with the headers that the extractor http sends"

  validation {
    condition     = can(regex("^(^$|^arn:aws[a-z-]*:secretsmanager:.+)$", var.fetch_secret_arn))
    error_message = "FetchSecretArn matches ^$|^arn:aws[a-z-]*:secretsmanager:.+."
  }
}

variable "kafka_cluster_arn" {
  type        = string
  default     = ""
  description = "An MSK cluster with IAM logins in the existing VPC; the extractor kafka takes its topic KafkaTopic"

  validation {
    condition     = can(regex("^(^$|^arn:aws[a-z-]*:kafka:[^:]+:[0-9]+:cluster/[^/]+/.+$)$", var.kafka_cluster_arn))
    error_message = "KafkaClusterArn matches ^$|^arn:aws[a-z-]*:kafka:[^:]+:[0-9]+:cluster/[^/]+/.+$."
  }
}

variable "kafka_topic" {
  type        = string
  default     = ""
  description = "The topic"

  validation {
    condition     = can(regex("^(^$|^[A-Za-z0-9._-]+$)$", var.kafka_topic))
    error_message = "KafkaTopic matches ^$|^[A-Za-z0-9._-]+$."
  }
}

variable "kafka_lag" {
  type        = number
  default     = 100000
  description = "More records of KafkaTopic than these, unread for half an hour, raise an alarm"

  validation {
    condition     = var.kafka_lag >= 0
    error_message = "It is at least 0."
  }
}

variable "alarm_email" {
  type        = string
  default     = ""
  description = "The address that gets every alarm, after a click in a confirmation mail; empty subscribes nobody"
}

variable "parked_alarm_days" {
  type        = number
  default     = 2
  description = "A row that has waited for its account longer than this raises an alarm"

  validation {
    condition     = var.parked_alarm_days >= 1
    error_message = "It is at least 1."
  }
}

variable "log_retention_days" {
  type        = number
  default     = 90
  description = "How long logs are kept; the ledger in the database is kept forever"

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "It is one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}
