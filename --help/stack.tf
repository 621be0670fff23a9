# Made from template.yaml by `make terraform`. Change that.

resource "aws_s3_bucket" "bucket" {
  count         = local.new_bucket ? 1 : 0
  bucket_prefix = "${local.stack}-bucket-"
  force_destroy = false
}

resource "aws_s3_bucket_versioning" "bucket" {
  count  = local.new_bucket ? 1 : 0
  bucket = aws_s3_bucket.bucket[0].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "bucket" {
  count      = local.new_bucket ? 1 : 0
  bucket     = aws_s3_bucket.bucket[0].id
  depends_on = [aws_s3_bucket_versioning.bucket]

  rule {
    id     = "forget-deleted-rejects"
    status = "Enabled"

    filter {
      prefix = "rejects/"
    }

    noncurrent_version_expiration {
      noncurrent_days = 1
    }
  }

  rule {
    id     = "forget-delete-markers"
    status = "Enabled"

    filter {
      prefix = ""
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  dynamic "rule" {
    for_each = local.old_versions_given ? [1] : []

    content {
      id     = "forget-old-versions"
      status = "Enabled"

      filter {
        prefix = var.incoming_prefix
      }

      noncurrent_version_expiration {
        noncurrent_days = var.old_versions_days
      }
    }
  }

  rule {
    id     = "forget-broken-uploads"
    status = "Enabled"

    filter {
      prefix = ""
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "bucket" {
  count  = local.new_bucket ? 1 : 0
  bucket = aws_s3_bucket.bucket[0].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_ownership_controls" "bucket" {
  count  = local.new_bucket ? 1 : 0
  bucket = aws_s3_bucket.bucket[0].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "bucket" {
  count                   = local.new_bucket ? 1 : 0
  bucket                  = aws_s3_bucket.bucket[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_notification" "bucket" {
  count       = local.new_bucket ? 1 : 0
  bucket      = aws_s3_bucket.bucket[0].id
  eventbridge = true
}

resource "aws_s3_bucket_policy" "bucket_policy" {
  count  = local.new_bucket ? 1 : 0
  bucket = aws_s3_bucket.bucket[0].id
  policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Deny", "Principal" = "*", "Action" = "s3:*", "Resource" = [aws_s3_bucket.bucket[0].arn, "${aws_s3_bucket.bucket[0].arn}/*"], "Condition" = { "Bool" = { "aws:SecureTransport" = "false" } } }] })
}

resource "aws_cloudwatch_event_rule" "object_created" {
  name          = "${local.stack}-ObjectCreated"
  description   = "A new object below the incoming prefix goes to the queue of ingest"
  event_pattern = jsonencode({ "source" = ["aws.s3"], "detail-type" = ["Object Created"], "detail" = { "bucket" = { "name" = [(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)] }, "object" = { "key" = [{ "prefix" = var.incoming_prefix }] } } })
}

resource "aws_cloudwatch_event_target" "object_created" {
  rule      = aws_cloudwatch_event_rule.object_created.name
  target_id = "queue"
  arn       = aws_sqs_queue.queue.arn

  retry_policy {
    maximum_event_age_in_seconds = 86400
    maximum_retry_attempts       = 185
  }

  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }
}

# The queue is what keeps a burst of files from exhausting the connections of Postgres.
resource "aws_sqs_queue" "queue" {
  name                       = "${local.stack}-Queue"
  visibility_timeout_seconds = 5400
  message_retention_seconds  = 604800
  sqs_managed_sse_enabled    = true
  redrive_policy             = jsonencode({ "deadLetterTargetArn" = aws_sqs_queue.dead_letters.arn, "maxReceiveCount" = 5 })
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "${local.stack}-DeadLetters"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

# Separate from the dead letters, which are sent back to the queue: these messages are not files.
resource "aws_sqs_queue" "failed_runs" {
  name                      = "${local.stack}-FailedRuns"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue_policy" "queue_policy" {
  queue_url = aws_sqs_queue.queue.url
  policy    = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = { "Service" = "events.amazonaws.com" }, "Action" = "sqs:SendMessage", "Resource" = aws_sqs_queue.queue.arn, "Condition" = { "ArnEquals" = { "aws:SourceArn" = aws_cloudwatch_event_rule.object_created.arn } } }, { "Effect" = "Deny", "Principal" = "*", "Action" = "sqs:*", "Resource" = aws_sqs_queue.queue.arn, "Condition" = { "Bool" = { "aws:SecureTransport" = "false" } } }] })
}

resource "aws_sqs_queue_policy" "dead_letters_policy" {
  queue_url = aws_sqs_queue.dead_letters.url
  policy    = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = { "Service" = "events.amazonaws.com" }, "Action" = "sqs:SendMessage", "Resource" = aws_sqs_queue.dead_letters.arn, "Condition" = { "ArnEquals" = { "aws:SourceArn" = aws_cloudwatch_event_rule.object_created.arn } } }, { "Effect" = "Deny", "Principal" = "*", "Action" = "sqs:*", "Resource" = aws_sqs_queue.dead_letters.arn, "Condition" = { "Bool" = { "aws:SecureTransport" = "false" } } }] })
}

resource "aws_sqs_queue_policy" "failed_runs_policy" {
  queue_url = aws_sqs_queue.failed_runs.url
  policy    = jsonencode({ "Version" = "2012-10-17", "Statement" = [for each in [(local.announcing ? { "Effect" = "Allow", "Principal" = { "Service" = "events.amazonaws.com" }, "Action" = "sqs:SendMessage", "Resource" = aws_sqs_queue.failed_runs.arn, "Condition" = { "ArnEquals" = { "aws:SourceArn" = aws_cloudwatch_event_rule.failed_file[0].arn } } } : null), (local.large ? { "Effect" = "Allow", "Principal" = { "Service" = "events.amazonaws.com" }, "Action" = "sqs:SendMessage", "Resource" = aws_sqs_queue.failed_runs.arn, "Condition" = { "ArnEquals" = { "aws:SourceArn" = aws_cloudwatch_event_rule.failed_large_file[0].arn } } } : null), { "Effect" = "Deny", "Principal" = "*", "Action" = "sqs:*", "Resource" = aws_sqs_queue.failed_runs.arn, "Condition" = { "Bool" = { "aws:SecureTransport" = "false" } } }] : each if each != null] })
}

resource "aws_scheduler_schedule" "nightly" {
  name                = "${local.stack}-Nightly"
  description         = "Reconciles the bucket with the ledger"
  schedule_expression = "cron(0 20 * * ? *)"
  state               = "ENABLED"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_alias.ingest_aliaslive.arn
    role_arn = aws_iam_role.nightly_role.arn
    input    = "{\"reconcile\": {}}"

    retry_policy {
      maximum_retry_attempts       = 5
      maximum_event_age_in_seconds = 3600
    }

    dead_letter_config {
      arn = aws_sqs_queue.failed_runs.arn
    }
  }
}

resource "aws_scheduler_schedule" "fetch" {
  count               = local.fetching ? 1 : 0
  name                = "${local.stack}-Fetch"
  description         = "Fetches a file from a server and loads it"
  schedule_expression = var.fetch_schedule
  state               = "ENABLED"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_alias.ingest_aliaslive.arn
    role_arn = aws_iam_role.nightly_role.arn
    input    = "{\"url\": \"${var.fetch_url}\", \"dataset\": \"${var.fetch_dataset}\"}"

    retry_policy {
      maximum_retry_attempts       = 5
      maximum_event_age_in_seconds = 3600
    }

    dead_letter_config {
      arn = aws_sqs_queue.failed_runs.arn
    }
  }
}

resource "aws_lambda_event_source_mapping" "stream" {
  count                              = local.streaming ? 1 : 0
  function_name                      = aws_lambda_alias.ingest_aliaslive.arn
  enabled                            = true
  event_source_arn                   = var.kafka_cluster_arn
  topics                             = [var.kafka_topic]
  starting_position                  = "TRIM_HORIZON"
  batch_size                         = 10000
  maximum_batching_window_in_seconds = 10
  depends_on                         = [aws_lambda_invocation.migrate]

  amazon_managed_kafka_event_source_config {
    consumer_group_id = local.stack
  }

  destination_config {
    on_failure {
      destination_arn = aws_sqs_queue.failed_runs.arn
    }
  }
}

resource "aws_cloudwatch_log_group" "ingest_log" {
  name              = "/${local.stack}/ingest"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.key.arn
}

resource "aws_cloudwatch_log_group" "migrate_log" {
  name              = "/${local.stack}/migrate"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.key.arn
}

resource "aws_iam_policy" "function_basics" {
  name        = "${local.stack}-FunctionBasics"
  description = "What Lambda needs to run a function in a VPC with traces"
  policy      = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Action" = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "Resource" = "*" }, { "Effect" = "Allow", "Action" = ["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"], "Resource" = "*" }, { "Effect" = "Deny", "Action" = ["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:DetachNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"], "Resource" = "*", "Condition" = { "ArnLike" = { "lambda:SourceFunctionArn" = "arn:${data.aws_partition.current.partition}:lambda:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:function:${local.stack}-*" } } }] })
}

resource "aws_iam_policy" "loading_files" {
  name        = "${local.stack}-LoadingFiles"
  description = "What loading a file takes, in the function ingest and on Fargate"
  policy      = jsonencode({ "Version" = "2012-10-17", "Statement" = [for each in [{ "Effect" = "Allow", "Action" = ["s3:GetObject", "s3:GetObjectVersion"], "Resource" = "arn:${data.aws_partition.current.partition}:s3:::${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}/${var.incoming_prefix}*" }, { "Effect" = "Allow", "Action" = ["s3:PutObject", "s3:AbortMultipartUpload"], "Resource" = "arn:${data.aws_partition.current.partition}:s3:::${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}/rejects/*" }, { "Effect" = "Allow", "Action" = ["s3:ListBucket", "s3:ListBucketVersions"], "Resource" = "arn:${data.aws_partition.current.partition}:s3:::${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}" }, jsondecode(local.iam_login ? jsonencode({ "Effect" = "Allow", "Action" = "rds-db:connect", "Resource" = "arn:${data.aws_partition.current.partition}:rds-db:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:dbuser:${(local.new_database ? aws_db_instance.database[0].resource_id : var.database_resource_id)}/small_etl_ingest" }) : jsonencode({ "Effect" = "Allow", "Action" = "secretsmanager:GetSecretValue", "Resource" = var.ingest_secret_arn })), (local.lake ? { "Effect" = "Allow", "Action" = ["s3:PutObject", "s3:AbortMultipartUpload"], "Resource" = "arn:${data.aws_partition.current.partition}:s3:::${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}/${var.lake_prefix}*" } : null), (local.announcing ? { "Effect" = "Allow", "Action" = "events:PutEvents", "Resource" = "arn:${data.aws_partition.current.partition}:events:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:event-bus/${var.event_bus_name}", "Condition" = { "StringEquals" = { "events:source" = "small-etl" } } } : null), (local.column_key ? { "Effect" = "Allow", "Action" = ["kms:GenerateDataKeyWithoutPlaintext", "kms:Decrypt"], "Resource" = var.kms_key_arn } : null), (local.existing_keys ? { "Effect" = "Allow", "Action" = ["kms:GenerateDataKey", "kms:Decrypt"], "Resource" = split(",", var.existing_key_arns), "Condition" = { "StringEquals" = { "kms:ViaService" = ["s3.${data.aws_region.current.name}.${data.aws_partition.current.dns_suffix}", "secretsmanager.${data.aws_region.current.name}.${data.aws_partition.current.dns_suffix}"] } } } : null)] : each if each != null] })
}

resource "aws_iam_role" "ingest_role" {
  name               = "${local.stack}-IngestRole"
  description        = "The function ingest"
  assume_role_policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = { "Service" = "lambda.amazonaws.com" }, "Action" = "sts:AssumeRole" }] })
}

resource "aws_iam_role_policy" "ingest_role" {
  name   = "ingest"
  role   = aws_iam_role.ingest_role.name
  policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [for each in [{ "Effect" = "Allow", "Action" = ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource" = "${aws_cloudwatch_log_group.ingest_log.arn}:*" }, { "Effect" = "Allow", "Action" = "s3:DeleteObject", "Resource" = "arn:${data.aws_partition.current.partition}:s3:::${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}/rejects/*" }, { "Effect" = "Allow", "Action" = ["s3:PutObject", "s3:AbortMultipartUpload"], "Resource" = "arn:${data.aws_partition.current.partition}:s3:::${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}/reconciliations/*" }, { "Effect" = "Allow", "Action" = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], "Resource" = aws_sqs_queue.queue.arn }, { "Effect" = "Allow", "Action" = ["sqs:SendMessage", "sqs:ChangeMessageVisibility"], "Resource" = aws_sqs_queue.queue.arn }, (local.large ? { "Effect" = "Allow", "Action" = "sqs:SendMessage", "Resource" = aws_sqs_queue.large_files_queue[0].arn } : null), { "Effect" = "Allow", "Action" = "sqs:SendMessage", "Resource" = aws_sqs_queue.failed_runs.arn }, (local.landing ? { "Effect" = "Allow", "Action" = ["s3:PutObject", "s3:AbortMultipartUpload"], "Resource" = "arn:${data.aws_partition.current.partition}:s3:::${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}/${var.landing_prefix}*" } : null), (local.fetch_secret ? { "Effect" = "Allow", "Action" = "secretsmanager:GetSecretValue", "Resource" = var.fetch_secret_arn } : null), (local.streaming ? { "Effect" = "Allow", "Action" = ["kafka:DescribeCluster", "kafka:DescribeClusterV2", "kafka:GetBootstrapBrokers"], "Resource" = var.kafka_cluster_arn } : null), (local.streaming ? { "Effect" = "Allow", "Action" = ["kafka-cluster:Connect", "kafka-cluster:DescribeClusterDynamicConfiguration", "kafka-cluster:DescribeTopic", "kafka-cluster:ReadData", "kafka-cluster:DescribeGroup", "kafka-cluster:AlterGroup"], "Resource" = [var.kafka_cluster_arn, "arn:${data.aws_partition.current.partition}:kafka:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:topic/${join("/", [(split("/", var.kafka_cluster_arn))[1], (split("/", var.kafka_cluster_arn))[2]])}/${var.kafka_topic}", "arn:${data.aws_partition.current.partition}:kafka:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:group/${join("/", [(split("/", var.kafka_cluster_arn))[1], (split("/", var.kafka_cluster_arn))[2]])}/${local.stack}"] } : null), (local.streaming ? { "Effect" = "Allow", "Action" = ["ec2:DescribeVpcs", "ec2:DescribeSecurityGroups"], "Resource" = "*" } : null)] : each if each != null] })
}

resource "aws_iam_role_policy_attachment" "ingest_role" {
  role       = aws_iam_role.ingest_role.name
  policy_arn = aws_iam_policy.function_basics.arn
}

resource "aws_iam_role_policy_attachment" "ingest_role_1" {
  role       = aws_iam_role.ingest_role.name
  policy_arn = aws_iam_policy.loading_files.arn
}

resource "aws_iam_role" "migrate_role" {
  name               = "${local.stack}-MigrateRole"
  description        = "The function migrate"
  assume_role_policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = { "Service" = "lambda.amazonaws.com" }, "Action" = "sts:AssumeRole" }] })
}

resource "aws_iam_role_policy" "migrate_role" {
  name   = "migrate"
  role   = aws_iam_role.migrate_role.name
  policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [for each in [{ "Effect" = "Allow", "Action" = ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource" = "${aws_cloudwatch_log_group.migrate_log.arn}:*" }, { "Effect" = "Allow", "Action" = "secretsmanager:GetSecretValue", "Resource" = (local.new_database ? aws_db_instance.database[0].master_user_secret[0].secret_arn : var.database_secret_arn) }, (local.existing_keys ? { "Effect" = "Allow", "Action" = "kms:Decrypt", "Resource" = split(",", var.existing_key_arns), "Condition" = { "StringEquals" = { "kms:ViaService" = "secretsmanager.${data.aws_region.current.name}.${data.aws_partition.current.dns_suffix}" } } } : null)] : each if each != null] })
}

resource "aws_iam_role_policy_attachment" "migrate_role" {
  role       = aws_iam_role.migrate_role.name
  policy_arn = aws_iam_policy.function_basics.arn
}

resource "aws_iam_role" "nightly_role" {
  name               = "${local.stack}-NightlyRole"
  description        = "The schedule of the nightly run"
  assume_role_policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = { "Service" = "scheduler.amazonaws.com" }, "Action" = "sts:AssumeRole", "Condition" = { "StringEquals" = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } } }] })
}

resource "aws_iam_role_policy" "nightly_role" {
  name   = "nightly"
  role   = aws_iam_role.nightly_role.name
  policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Action" = "lambda:InvokeFunction", "Resource" = aws_lambda_alias.ingest_aliaslive.arn }, { "Effect" = "Allow", "Action" = "sqs:SendMessage", "Resource" = aws_sqs_queue.failed_runs.arn }] })
}

# This key is deleted with the stack, so it encrypts only what is deleted too: the topic of the alarms (which the key of SNS would close to
# CloudWatch) and the logs.
resource "aws_kms_key" "key" {
  description             = "Topic and logs of ${local.stack}"
  enable_key_rotation     = true
  deletion_window_in_days = 7
  policy                  = jsonencode({ "Version" = "2012-10-17", "Statement" = [for each in [{ "Effect" = "Allow", "Principal" = { "AWS" = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root" }, "Action" = "kms:*", "Resource" = "*" }, { "Effect" = "Allow", "Principal" = { "Service" = "cloudwatch.amazonaws.com" }, "Action" = ["kms:Decrypt", "kms:GenerateDataKey"], "Resource" = "*", "Condition" = { "StringEquals" = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } } }, (local.announcing ? { "Effect" = "Allow", "Principal" = { "Service" = "events.amazonaws.com" }, "Action" = ["kms:Decrypt", "kms:GenerateDataKey"], "Resource" = "*" } : null), { "Effect" = "Allow", "Principal" = { "Service" = "logs.${data.aws_region.current.name}.${data.aws_partition.current.dns_suffix}" }, "Action" = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey"], "Resource" = "*", "Condition" = { "ArnLike" = { "kms:EncryptionContext:aws:logs:arn" = "arn:${data.aws_partition.current.partition}:logs:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:log-group:*${local.stack}*" } } }] : each if each != null] })
}

resource "aws_vpc" "vpc" {
  count                = local.new_vpc ? 1 : 0
  tags                 = { "Name" = local.stack }
  cidr_block           = "10.0.0.0/24"
  enable_dns_support   = true
  enable_dns_hostnames = true
}

resource "aws_subnet" "subnet_a" {
  count             = local.new_vpc ? 1 : 0
  tags              = { "Name" = "${local.stack}-a" }
  vpc_id            = aws_vpc.vpc[0].id
  cidr_block        = "10.0.0.0/26"
  availability_zone = ((local.zones_given ? split(",", var.availability_zones) : data.aws_availability_zones.available.names))[0]
}

resource "aws_subnet" "subnet_b" {
  count             = local.new_vpc ? 1 : 0
  tags              = { "Name" = "${local.stack}-b" }
  vpc_id            = aws_vpc.vpc[0].id
  cidr_block        = "10.0.0.64/26"
  availability_zone = ((local.zones_given ? split(",", var.availability_zones) : data.aws_availability_zones.available.names))[1]
}

resource "aws_route_table" "routes" {
  count  = local.new_vpc ? 1 : 0
  tags   = { "Name" = local.stack }
  vpc_id = aws_vpc.vpc[0].id
}

resource "aws_route_table_association" "routes_a" {
  count          = local.new_vpc ? 1 : 0
  subnet_id      = aws_subnet.subnet_a[0].id
  route_table_id = aws_route_table.routes[0].id
}

resource "aws_route_table_association" "routes_b" {
  count          = local.new_vpc ? 1 : 0
  subnet_id      = aws_subnet.subnet_b[0].id
  route_table_id = aws_route_table.routes[0].id
}

resource "aws_security_group" "function_group" {
  name        = "${local.stack}-FunctionGroup"
  description = "Both functions; nothing calls them over the network"
  vpc_id      = (local.new_vpc ? aws_vpc.vpc[0].id : var.vpc_id)
}

resource "aws_vpc_security_group_egress_rule" "function_group_0" {
  security_group_id = aws_security_group.function_group.id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
  description       = "AWS services over TLS"
}

resource "aws_vpc_security_group_egress_rule" "functions_to_database" {
  security_group_id            = aws_security_group.function_group.id
  ip_protocol                  = "tcp"
  from_port                    = var.database_port
  to_port                      = var.database_port
  referenced_security_group_id = (local.new_database ? aws_security_group.database_group[0].id : (local.database_group_given ? var.database_security_group_id : null))
  cidr_ipv4                    = (local.database_group_known ? null : "0.0.0.0/0")
  description                  = "Postgres"
}

resource "aws_vpc_security_group_ingress_rule" "database_from_functions" {
  count                        = local.database_group_given ? 1 : 0
  security_group_id            = var.database_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = var.database_port
  to_port                      = var.database_port
  referenced_security_group_id = aws_security_group.function_group.id
  description                  = "Functions of ${local.stack}"
}

resource "aws_security_group" "database_group" {
  count       = local.new_database ? 1 : 0
  name        = "${local.stack}-DatabaseGroup"
  description = "The database; only the functions reach it"
  vpc_id      = (local.new_vpc ? aws_vpc.vpc[0].id : var.vpc_id)
}

resource "aws_vpc_security_group_egress_rule" "database_group_0" {
  count             = local.new_database ? 1 : 0
  security_group_id = aws_security_group.database_group[0].id
  ip_protocol       = "icmp"
  from_port         = 252
  to_port           = 86
  cidr_ipv4         = "127.0.0.1/32"
  description       = "Nowhere"
}

resource "aws_vpc_security_group_ingress_rule" "database_group_1" {
  count                        = local.new_database ? 1 : 0
  security_group_id            = aws_security_group.database_group[0].id
  ip_protocol                  = "tcp"
  from_port                    = var.database_port
  to_port                      = var.database_port
  referenced_security_group_id = aws_security_group.function_group.id
  description                  = "The functions"
}

resource "aws_security_group" "endpoint_group" {
  count       = local.endpoints ? 1 : 0
  name        = "${local.stack}-EndpointGroup"
  description = "The endpoints of SQS, Secrets Manager, KMS and EventBridge"
  vpc_id      = (local.new_vpc ? aws_vpc.vpc[0].id : var.vpc_id)
}

resource "aws_vpc_security_group_egress_rule" "endpoint_group_0" {
  count             = local.endpoints ? 1 : 0
  security_group_id = aws_security_group.endpoint_group[0].id
  ip_protocol       = "icmp"
  from_port         = 252
  to_port           = 86
  cidr_ipv4         = "127.0.0.1/32"
  description       = "Nowhere"
}

resource "aws_vpc_security_group_ingress_rule" "endpoint_group_1" {
  count                        = local.endpoints ? 1 : 0
  security_group_id            = aws_security_group.endpoint_group[0].id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.function_group.id
  description                  = "The functions"
}

resource "aws_vpc_security_group_ingress_rule" "endpoints_from_vpc" {
  count             = local.old_vpc_endpoints ? 1 : 0
  security_group_id = aws_security_group.endpoint_group[0].id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.vpc_cidr
  description       = "The rest of the VPC"
}

# The policies of the endpoints bind all code in a function, whatever credentials it uses. In an
# existing VPC there are none, because others use the endpoints too.
resource "aws_vpc_endpoint" "s3_endpoint" {
  count             = local.endpoints ? 1 : 0
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${data.aws_region.current.name}.s3"
  vpc_id            = (local.new_vpc ? aws_vpc.vpc[0].id : var.vpc_id)
  route_table_ids   = (local.new_vpc ? [aws_route_table.routes[0].id] : split(",", var.route_table_ids))
  policy            = local.new_vpc ? jsonencode({ "Version" = "2012-10-17", "Statement" = [for each in [{ "Effect" = "Allow", "Principal" = "*", "Action" = "s3:*", "Resource" = ["arn:${data.aws_partition.current.partition}:s3:::${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}", "arn:${data.aws_partition.current.partition}:s3:::${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}/*"], "Condition" = { "StringEquals" = { "aws:PrincipalAccount" = data.aws_caller_identity.current.account_id } } }, (local.large ? { "Effect" = "Allow", "Principal" = "*", "Action" = "s3:GetObject", "Resource" = "arn:${data.aws_partition.current.partition}:s3:::prod-${data.aws_region.current.name}-starport-layer-bucket/*" } : null)] : each if each != null] }) : null
}

resource "aws_vpc_endpoint" "sqs_endpoint" {
  count               = local.endpoints ? 1 : 0
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${data.aws_region.current.name}.sqs"
  vpc_id              = (local.new_vpc ? aws_vpc.vpc[0].id : var.vpc_id)
  subnet_ids          = (local.one_zone ? [aws_subnet.subnet_a[0].id] : (local.new_vpc ? [aws_subnet.subnet_a[0].id, aws_subnet.subnet_b[0].id] : split(",", var.subnet_ids)))
  security_group_ids  = [aws_security_group.endpoint_group[0].id]
  private_dns_enabled = true
  policy              = local.new_vpc ? jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = "*", "Action" = ["sqs:SendMessage", "sqs:ChangeMessageVisibility"], "Resource" = (local.large ? [aws_sqs_queue.queue.arn, aws_sqs_queue.large_files_queue[0].arn] : [aws_sqs_queue.queue.arn]), "Condition" = { "StringEquals" = { "aws:PrincipalAccount" = data.aws_caller_identity.current.account_id } } }] }) : null
}

resource "aws_vpc_endpoint" "secrets_endpoint" {
  count               = local.endpoints ? 1 : 0
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${data.aws_region.current.name}.secretsmanager"
  vpc_id              = (local.new_vpc ? aws_vpc.vpc[0].id : var.vpc_id)
  subnet_ids          = (local.one_zone ? [aws_subnet.subnet_a[0].id] : (local.new_vpc ? [aws_subnet.subnet_a[0].id, aws_subnet.subnet_b[0].id] : split(",", var.subnet_ids)))
  security_group_ids  = [aws_security_group.endpoint_group[0].id]
  private_dns_enabled = true
  policy              = local.new_vpc ? jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = "*", "Action" = "secretsmanager:GetSecretValue", "Resource" = (local.new_database ? aws_db_instance.database[0].master_user_secret[0].secret_arn : var.database_secret_arn), "Condition" = { "StringEquals" = { "aws:PrincipalAccount" = data.aws_caller_identity.current.account_id } } }] }) : null
}

resource "aws_vpc_endpoint" "kms_endpoint" {
  count               = local.column_key_endpoint ? 1 : 0
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${data.aws_region.current.name}.kms"
  vpc_id              = (local.new_vpc ? aws_vpc.vpc[0].id : var.vpc_id)
  subnet_ids          = (local.one_zone ? [aws_subnet.subnet_a[0].id] : (local.new_vpc ? [aws_subnet.subnet_a[0].id, aws_subnet.subnet_b[0].id] : split(",", var.subnet_ids)))
  security_group_ids  = [aws_security_group.endpoint_group[0].id]
  private_dns_enabled = true
  policy              = local.new_vpc ? jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = "*", "Action" = ["kms:GenerateDataKeyWithoutPlaintext", "kms:Decrypt"], "Resource" = var.kms_key_arn, "Condition" = { "StringEquals" = { "aws:PrincipalAccount" = data.aws_caller_identity.current.account_id } } }] }) : null
}

resource "aws_vpc_endpoint" "event_bridge_endpoint" {
  count               = local.events_endpoint ? 1 : 0
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${data.aws_region.current.name}.events"
  vpc_id              = (local.new_vpc ? aws_vpc.vpc[0].id : var.vpc_id)
  subnet_ids          = (local.one_zone ? [aws_subnet.subnet_a[0].id] : (local.new_vpc ? [aws_subnet.subnet_a[0].id, aws_subnet.subnet_b[0].id] : split(",", var.subnet_ids)))
  security_group_ids  = [aws_security_group.endpoint_group[0].id]
  private_dns_enabled = true
  policy              = local.new_vpc ? jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = "*", "Action" = "events:PutEvents", "Resource" = "arn:${data.aws_partition.current.partition}:events:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:event-bus/${var.event_bus_name}", "Condition" = { "StringEquals" = { "aws:PrincipalAccount" = data.aws_caller_identity.current.account_id } } }] }) : null
}

resource "aws_vpc_endpoint" "registry_endpoint" {
  count               = local.large_endpoints ? 1 : 0
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${data.aws_region.current.name}.ecr.api"
  vpc_id              = (local.new_vpc ? aws_vpc.vpc[0].id : var.vpc_id)
  subnet_ids          = (local.one_zone ? [aws_subnet.subnet_a[0].id] : (local.new_vpc ? [aws_subnet.subnet_a[0].id, aws_subnet.subnet_b[0].id] : split(",", var.subnet_ids)))
  security_group_ids  = [aws_security_group.endpoint_group[0].id]
  private_dns_enabled = true
  policy              = local.new_vpc ? jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = "*", "Action" = ["ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"], "Resource" = "*", "Condition" = { "StringEquals" = { "aws:PrincipalAccount" = data.aws_caller_identity.current.account_id } } }] }) : null
}

resource "aws_vpc_endpoint" "images_endpoint" {
  count               = local.large_endpoints ? 1 : 0
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${data.aws_region.current.name}.ecr.dkr"
  vpc_id              = (local.new_vpc ? aws_vpc.vpc[0].id : var.vpc_id)
  subnet_ids          = (local.one_zone ? [aws_subnet.subnet_a[0].id] : (local.new_vpc ? [aws_subnet.subnet_a[0].id, aws_subnet.subnet_b[0].id] : split(",", var.subnet_ids)))
  security_group_ids  = [aws_security_group.endpoint_group[0].id]
  private_dns_enabled = true
  policy              = local.new_vpc ? jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = "*", "Action" = ["ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"], "Resource" = "*", "Condition" = { "StringEquals" = { "aws:PrincipalAccount" = data.aws_caller_identity.current.account_id } } }] }) : null
}

resource "aws_vpc_endpoint" "logs_endpoint" {
  count               = local.large_endpoints ? 1 : 0
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${data.aws_region.current.name}.logs"
  vpc_id              = (local.new_vpc ? aws_vpc.vpc[0].id : var.vpc_id)
  subnet_ids          = (local.one_zone ? [aws_subnet.subnet_a[0].id] : (local.new_vpc ? [aws_subnet.subnet_a[0].id, aws_subnet.subnet_b[0].id] : split(",", var.subnet_ids)))
  security_group_ids  = [aws_security_group.endpoint_group[0].id]
  private_dns_enabled = true
  policy              = local.new_vpc ? jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = "*", "Action" = ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource" = "${aws_cloudwatch_log_group.large_files_log[0].arn}:*", "Condition" = { "StringEquals" = { "aws:PrincipalAccount" = data.aws_caller_identity.current.account_id } } }] }) : null
}

resource "aws_db_instance" "database" {
  count                               = local.new_database ? 1 : 0
  identifier                          = local.stack
  engine                              = "postgres"
  engine_version                      = "17"
  auto_minor_version_upgrade          = true
  instance_class                      = var.database_class
  db_name                             = var.database_name
  port                                = var.database_port
  multi_az                            = (local.prod ? true : false)
  storage_type                        = "gp3"
  allocated_storage                   = "20"
  max_allocated_storage               = 200
  storage_encrypted                   = true
  username                            = "small_etl_owner"
  manage_master_user_password         = true
  iam_database_authentication_enabled = true
  ca_cert_identifier                  = "rds-ca-rsa2048-g1"
  parameter_group_name                = aws_db_parameter_group.database_settings[0].name
  db_subnet_group_name                = aws_db_subnet_group.database_subnets[0].name
  vpc_security_group_ids              = [aws_security_group.database_group[0].id]
  publicly_accessible                 = false
  deletion_protection                 = (local.prod ? true : false)
  backup_retention_period             = (local.backup_days_given ? var.backup_retention_days : (local.prod ? 35 : 7))
  copy_tags_to_snapshot               = true
  backup_window                       = "21:30-22:30"
  maintenance_window                  = "sat:23:00-sun:00:00"
  database_insights_mode              = "standard"
  performance_insights_enabled        = true
  enabled_cloudwatch_logs_exports     = ["postgresql"]
  skip_final_snapshot                 = false
  final_snapshot_identifier           = "${local.stack}-last"
  depends_on                          = [aws_cloudwatch_log_group.database_log]
}

resource "aws_db_parameter_group" "database_settings" {
  count       = local.new_database ? 1 : 0
  name        = lower("${local.stack}-DatabaseSettings")
  description = "TLS only, and no cell of a file in the log"
  family      = "postgres17"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  parameter {
    name  = "log_connections"
    value = "1"
  }

  parameter {
    name  = "log_disconnections"
    value = "1"
  }

  parameter {
    name  = "log_lock_waits"
    value = "1"
  }

  parameter {
    name  = "log_error_verbosity"
    value = "terse"
  }

  parameter {
    name  = "log_min_error_statement"
    value = "panic"
  }

  parameter {
    name  = "log_parameter_max_length"
    value = "0"
  }

  parameter {
    name  = "log_parameter_max_length_on_error"
    value = "0"
  }
}

resource "aws_db_subnet_group" "database_subnets" {
  count       = local.new_database ? 1 : 0
  name        = lower("${local.stack}-DatabaseSubnets")
  description = "Private subnets"
  subnet_ids  = (local.new_vpc ? [aws_subnet.subnet_a[0].id, aws_subnet.subnet_b[0].id] : split(",", var.subnet_ids))
}

resource "aws_cloudwatch_log_group" "database_log" {
  count             = local.new_database ? 1 : 0
  name              = "/aws/rds/instance/${local.stack}/postgresql"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.key.arn
}

resource "aws_sfn_state_machine" "backfill" {
  name       = "${local.stack}-backfill"
  role_arn   = aws_iam_role.backfill_role.arn
  definition = jsonencode({ "Comment" = "Sends every object below a prefix to the queue of ingest. Input: {\"prefix\": \"incoming/trades/\"}", "QueryLanguage" = "JSONPath", "StartAt" = "EachObject", "States" = { "EachObject" = { "Type" = "Map", "Label" = "EachObject", "MaxConcurrency" = 20, "ToleratedFailurePercentage" = 5.0, "ItemReader" = { "Resource" = "arn:aws:states:::s3:listObjectsV2", "Parameters" = { "Bucket" = "${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}", "Prefix.$" = "$.prefix" } }, "ItemProcessor" = { "ProcessorConfig" = { "Mode" = "DISTRIBUTED", "ExecutionType" = "STANDARD" }, "StartAt" = "IsFile", "States" = { "IsFile" = { "Type" = "Choice", "Choices" = [{ "Variable" = "$.Key", "StringMatches" = "*/", "Next" = "NotAFile" }], "Default" = "Send" }, "NotAFile" = { "Type" = "Succeed" }, "Send" = { "Type" = "Task", "Resource" = "arn:aws:states:::sqs:sendMessage", "Parameters" = { "QueueUrl" = "${aws_sqs_queue.queue.url}", "MessageBody" = { "bucket" = "${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}", "key.$" = "$.Key" } }, "Retry" = [{ "ErrorEquals" = ["States.ALL"], "IntervalSeconds" = 2, "BackoffRate" = 2, "MaxAttempts" = 5, "MaxDelaySeconds" = 60, "JitterStrategy" = "FULL" }], "End" = true } } }, "ResultWriter" = { "Resource" = "arn:aws:states:::s3:putObject", "Parameters" = { "Bucket" = "${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}", "Prefix" = "backfills" } }, "End" = true } } })
  depends_on = [aws_iam_role_policy.backfill_role]

  logging_configuration {
    level                  = "ERROR"
    include_execution_data = true
    log_destination        = "${aws_cloudwatch_log_group.backfill_log.arn}:*"
  }

  tracing_configuration {
    enabled = true
  }
}

resource "aws_cloudwatch_log_group" "backfill_log" {
  name              = "/aws/vendedlogs/states/${local.stack}-backfill"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.key.arn
}

resource "aws_iam_role" "backfill_role" {
  name               = "${local.stack}-BackfillRole"
  description        = "The state machine of the backfill"
  assume_role_policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = { "Service" = "states.amazonaws.com" }, "Action" = "sts:AssumeRole", "Condition" = { "StringEquals" = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } } }] })
}

resource "aws_iam_role_policy" "backfill_role" {
  name   = "backfill"
  role   = aws_iam_role.backfill_role.name
  policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [for each in [{ "Effect" = "Allow", "Action" = "s3:ListBucket", "Resource" = "arn:${data.aws_partition.current.partition}:s3:::${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}", "Condition" = { "StringLike" = { "s3:prefix" = "${var.incoming_prefix}*" } } }, { "Effect" = "Allow", "Action" = ["s3:PutObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"], "Resource" = "arn:${data.aws_partition.current.partition}:s3:::${(local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)}/backfills/*" }, { "Effect" = "Allow", "Action" = "sqs:SendMessage", "Resource" = aws_sqs_queue.queue.arn }, { "Effect" = "Allow", "Action" = "states:StartExecution", "Resource" = "arn:${data.aws_partition.current.partition}:states:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:stateMachine:${local.stack}-backfill" }, { "Effect" = "Allow", "Action" = ["states:DescribeExecution", "states:StopExecution", "states:RedriveExecution"], "Resource" = "arn:${data.aws_partition.current.partition}:states:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:execution:${local.stack}-backfill*" }, (local.existing_keys ? { "Effect" = "Allow", "Action" = ["kms:GenerateDataKey", "kms:Decrypt"], "Resource" = split(",", var.existing_key_arns), "Condition" = { "StringEquals" = { "kms:ViaService" = "s3.${data.aws_region.current.name}.${data.aws_partition.current.dns_suffix}" } } } : null), { "Effect" = "Allow", "Action" = ["logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery", "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups"], "Resource" = "*" }, { "Effect" = "Allow", "Action" = ["xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"], "Resource" = "*" }] : each if each != null] })
}

resource "aws_sqs_queue" "large_files_queue" {
  count                      = local.large ? 1 : 0
  name                       = "${local.stack}-LargeFilesQueue"
  visibility_timeout_seconds = 300
  message_retention_seconds  = 604800
  sqs_managed_sse_enabled    = true
  redrive_policy             = jsonencode({ "deadLetterTargetArn" = aws_sqs_queue.dead_letters.arn, "maxReceiveCount" = 5 })
}

resource "aws_sqs_queue_policy" "large_files_queue_policy" {
  count     = local.large ? 1 : 0
  queue_url = aws_sqs_queue.large_files_queue[0].url
  policy    = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Deny", "Principal" = "*", "Action" = "sqs:*", "Resource" = aws_sqs_queue.large_files_queue[0].arn, "Condition" = { "Bool" = { "aws:SecureTransport" = "false" } } }] })
}

resource "aws_pipes_pipe" "large_files_pipe" {
  count         = local.large ? 1 : 0
  name          = "${local.stack}-large-files"
  description   = "Starts a job for each file that is too large for ingest"
  desired_state = "RUNNING"
  role_arn      = aws_iam_role.large_files_pipe_role[0].arn
  source        = aws_sqs_queue.large_files_queue[0].arn
  target        = aws_batch_job_queue.large_files_jobs[0].arn
  depends_on    = [aws_iam_role_policy.large_files_pipe_role, aws_lambda_invocation.migrate]

  source_parameters {
    sqs_queue_parameters {
      batch_size = 1
    }
  }

  target_parameters {
    batch_job_parameters {
      job_definition = aws_batch_job_definition.large_files_job[0].arn
      job_name       = "${local.stack}-large-file"
      parameters     = { "message" = "$.body.large_file" }
    }
  }
}

resource "aws_batch_job_definition" "large_files_job" {
  count                 = local.large ? 1 : 0
  type                  = "container"
  name                  = "${local.stack}-large-file"
  platform_capabilities = ["FARGATE"]
  propagate_tags        = true
  container_properties  = jsonencode({ "image" = var.large_files_image, "command" = ["load", "--json", "--message", "Ref::message"], "executionRoleArn" = aws_iam_role.large_files_start_role[0].arn, "jobRoleArn" = aws_iam_role.large_files_role[0].arn, "runtimePlatform" = { "operatingSystemFamily" = "LINUX", "cpuArchitecture" = (local.arm ? "ARM64" : "X86_64") }, "resourceRequirements" = [{ "type" = "VCPU", "value" = "2" }, { "type" = "MEMORY", "value" = var.large_files_memory }], "ephemeralStorage" = { "sizeInGiB" = var.large_files_disk }, "networkConfiguration" = { "assignPublicIp" = "DISABLED" }, "logConfiguration" = { "logDriver" = "awslogs", "options" = { "awslogs-group" = aws_cloudwatch_log_group.large_files_log[0].name, "awslogs-region" = data.aws_region.current.name, "awslogs-stream-prefix" = "load" } }, "environment" = [{ "name" = "AWS_REGION", "value" = data.aws_region.current.name }, { "name" = "RUST_LOG", "value" = "info" }, { "name" = "SMALL_ETL_ENV", "value" = var.environment }, { "name" = "SMALL_ETL__LOG__FORMAT", "value" = "json" }, { "name" = "SMALL_ETL__DATABASE__TLS", "value" = "verify-full" }, { "name" = "SMALL_ETL__DATABASE__ROOT_CERTIFICATES", "value" = "/var/task/rds.pem" }, { "name" = "DATABASE_URL", "value" = "postgres://small_etl_ingest@${(local.new_database ? aws_db_instance.database[0].address : var.database_host)}:${var.database_port}/${var.database_name}" }, { "name" = "SMALL_ETL__DATABASE__LOGIN", "value" = (local.iam_login ? "iam" : "secret") }, { "name" = "SMALL_ETL__DATABASE__SECRET_ARN", "value" = (local.iam_login ? "" : var.ingest_secret_arn) }, { "name" = "SMALL_ETL__SOURCE__BUCKET", "value" = (local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket) }, { "name" = "SMALL_ETL__EVENTS__BUS", "value" = var.event_bus_name }, { "name" = "SMALL_ETL__ENCRYPTION__KMS_KEY", "value" = var.kms_key_arn }, { "name" = "SMALL_ETL__STAGE__MEMORY_LIMIT_MB", "value" = (local.little_memory ? "2048" : (local.much_memory ? "8192" : "4096")) }] })

  retry_strategy {
    attempts = 3

    evaluate_on_exit {
      action       = "EXIT"
      on_exit_code = "2"
    }
  }

  timeout {
    attempt_duration_seconds = 86400
  }
}

resource "aws_batch_job_queue" "large_files_jobs" {
  count    = local.large ? 1 : 0
  name     = "${local.stack}-large-files"
  priority = 1
  state    = "ENABLED"

  compute_environment_order {
    order               = 1
    compute_environment = aws_batch_compute_environment.large_files_machine[0].arn
  }
}

resource "aws_batch_compute_environment" "large_files_machine" {
  count                    = local.large ? 1 : 0
  compute_environment_name = "${local.stack}-large-files"
  type                     = "MANAGED"
  state                    = "ENABLED"

  compute_resources {
    type               = "FARGATE"
    max_vcpus          = 2
    subnets            = (local.new_vpc ? [aws_subnet.subnet_a[0].id, aws_subnet.subnet_b[0].id] : split(",", var.subnet_ids))
    security_group_ids = [aws_security_group.function_group.id]
  }
}

resource "aws_cloudwatch_log_group" "large_files_log" {
  count             = local.large ? 1 : 0
  name              = "/${local.stack}/large-files"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.key.arn
}

resource "aws_cloudwatch_event_rule" "failed_large_file" {
  count         = local.large ? 1 : 0
  name          = "${local.stack}-FailedLargeFile"
  description   = "A job that failed goes to the failed runs, where an alarm sees it"
  event_pattern = jsonencode({ "source" = ["aws.batch"], "detail-type" = ["Batch Job State Change"], "detail" = { "status" = ["FAILED"], "jobQueue" = [aws_batch_job_queue.large_files_jobs[0].arn] } })
}

resource "aws_cloudwatch_event_target" "failed_large_file" {
  count     = local.large ? 1 : 0
  rule      = aws_cloudwatch_event_rule.failed_large_file[0].name
  target_id = "failed-runs"
  arn       = aws_sqs_queue.failed_runs.arn
}

resource "aws_iam_role" "large_files_role" {
  count              = local.large ? 1 : 0
  name               = "${local.stack}-LargeFilesRole"
  description        = "The program that loads large files"
  assume_role_policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = { "Service" = "ecs-tasks.amazonaws.com" }, "Action" = "sts:AssumeRole", "Condition" = { "StringEquals" = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } } }] })
}

resource "aws_iam_role_policy_attachment" "large_files_role" {
  count      = local.large ? 1 : 0
  role       = aws_iam_role.large_files_role[0].name
  policy_arn = aws_iam_policy.loading_files.arn
}

resource "aws_iam_role" "large_files_start_role" {
  count              = local.large ? 1 : 0
  name               = "${local.stack}-LargeFilesStartRole"
  description        = "Fargate, before the program that loads large files runs"
  assume_role_policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = { "Service" = "ecs-tasks.amazonaws.com" }, "Action" = "sts:AssumeRole" }] })
}

resource "aws_iam_role_policy" "large_files_start_role" {
  count  = local.large ? 1 : 0
  name   = "start"
  role   = aws_iam_role.large_files_start_role[0].name
  policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Action" = "ecr:GetAuthorizationToken", "Resource" = "*" }, { "Effect" = "Allow", "Action" = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"], "Resource" = "arn:${data.aws_partition.current.partition}:ecr:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:repository/*" }, { "Effect" = "Allow", "Action" = ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource" = "${aws_cloudwatch_log_group.large_files_log[0].arn}:*" }] })
}

resource "aws_iam_role" "large_files_pipe_role" {
  count              = local.large ? 1 : 0
  name               = "${local.stack}-LargeFilesPipeRole"
  description        = "The pipe that starts a job for each large file"
  assume_role_policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Principal" = { "Service" = "pipes.amazonaws.com" }, "Action" = "sts:AssumeRole", "Condition" = { "StringEquals" = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } } }] })
}

resource "aws_iam_role_policy" "large_files_pipe_role" {
  count  = local.large ? 1 : 0
  name   = "pipe"
  role   = aws_iam_role.large_files_pipe_role[0].name
  policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [{ "Effect" = "Allow", "Action" = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], "Resource" = aws_sqs_queue.large_files_queue[0].arn }, { "Effect" = "Allow", "Action" = "batch:SubmitJob", "Resource" = [aws_batch_job_queue.large_files_jobs[0].arn, "arn:${data.aws_partition.current.partition}:batch:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:job-definition/${local.stack}-large-file:*"] }] })
}

resource "aws_sns_topic" "alarms" {
  name              = "${local.stack}-Alarms"
  display_name      = "Small ETL ${var.environment}"
  kms_master_key_id = aws_kms_key.key.key_id
}

resource "aws_sns_topic_policy" "alarms_policy" {
  arn    = aws_sns_topic.alarms.arn
  policy = jsonencode({ "Version" = "2012-10-17", "Statement" = [for each in [{ "Effect" = "Allow", "Principal" = { "Service" = "cloudwatch.amazonaws.com" }, "Action" = "sns:Publish", "Resource" = aws_sns_topic.alarms.arn, "Condition" = { "StringEquals" = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } } }, (local.announcing ? { "Effect" = "Allow", "Principal" = { "Service" = "events.amazonaws.com" }, "Action" = "sns:Publish", "Resource" = aws_sns_topic.alarms.arn } : null), { "Effect" = "Deny", "Principal" = "*", "Action" = "sns:Publish", "Resource" = aws_sns_topic.alarms.arn, "Condition" = { "Bool" = { "aws:SecureTransport" = "false" } } }] : each if each != null] })
}

# How to subscribe: the schemas of all events are in events/schemas. A receiver that needs each event once must remember its event_id.
resource "aws_cloudwatch_event_rule" "failed_file" {
  count          = local.announcing ? 1 : 0
  name           = "${local.stack}-FailedFile"
  description    = "A file that cannot be loaded goes to the topic of the alarms"
  event_bus_name = var.event_bus_name
  event_pattern  = jsonencode({ "source" = ["small-etl"], "detail-type" = ["FileFailed"], "detail" = { "state" = ["failed"] } })
}

resource "aws_cloudwatch_event_target" "failed_file" {
  count          = local.announcing ? 1 : 0
  rule           = aws_cloudwatch_event_rule.failed_file[0].name
  event_bus_name = var.event_bus_name
  target_id      = "topic"
  arn            = aws_sns_topic.alarms.arn

  dead_letter_config {
    arn = aws_sqs_queue.failed_runs.arn
  }

  input_transformer {
    input_paths    = { "bucket" = "$.detail.bucket", "key" = "$.detail.key", "reason" = "$.detail.reason", "load" = "$.detail.load_id" }
    input_template = "\"s3://<bucket>/<key> was not loaded: <reason> (load <load>)\""
  }
}

resource "aws_sns_topic_subscription" "alarm_mail" {
  count     = local.mail ? 1 : 0
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_cloudwatch_metric_alarm" "slow_load" {
  alarm_name          = "${local.stack}-slow-load"
  alarm_description   = "A file of 10,000 rows or more was loaded at less than 1,000 rows a second. First see Database Insights for locks and load on the database, then the slowest batch on the dashboard."
  namespace           = "SmallEtl"
  metric_name         = "LargeFileRowsPerSecond"
  statistic           = "Minimum"
  comparison_operator = "LessThanThreshold"
  threshold           = 1000
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "Environment" = var.environment }
}

resource "aws_cloudwatch_metric_alarm" "many_rejects" {
  alarm_name          = "${local.stack}-many-rejects"
  alarm_description   = "More than 1% of a file of 10,000 rows or more was rejected. The good rows are loaded. First open the file's report under rejects/, then ask the sender for a corrected file."
  namespace           = "SmallEtl"
  metric_name         = "LargeFileRejectRate"
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 1
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "Environment" = var.environment }
}

resource "aws_cloudwatch_metric_alarm" "memory" {
  alarm_name          = "${local.stack}-memory"
  alarm_description   = "An invocation used more than 2 GB (megabytes). First lower SMALL_ETL__STAGE__MEMORY_LIMIT_MB; the rest then goes to the disk."
  namespace           = "SmallEtl"
  metric_name         = "PeakMemory"
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 2048
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "Environment" = var.environment }
}

resource "aws_cloudwatch_metric_alarm" "slow_batch" {
  alarm_name          = "${local.stack}-slow-batch"
  alarm_description   = "A batch took longer than 10 seconds (milliseconds). First look for a lock in Database Insights, then for a full or small database."
  namespace           = "SmallEtl"
  metric_name         = "SlowestBatch"
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 10000
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "Environment" = var.environment }
}

resource "aws_cloudwatch_metric_alarm" "connection_budget" {
  alarm_name          = "${local.stack}-connections"
  alarm_description   = "All nine connections that the role of ingest may have were open at once, for example by three loads and the nightly export; a tenth is refused. If it comes by day, first compare SMALL_ETL__LOAD__CONNECTIONS x (3 + 1) with nine, then look for direct calls; ReservedConcurrency=4 bounds those."
  namespace           = "SmallEtl"
  metric_name         = "Connections"
  statistic           = "Maximum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 9
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "Environment" = var.environment }
}

resource "aws_cloudwatch_metric_alarm" "failed_load" {
  alarm_name          = "${local.stack}-failed-load"
  alarm_description   = "A file failed as a whole. First run `small-etl status`, or read reason and error in etl.load: they say what to correct before the file is sent again. A file with the reason no_progress may be partly loaded."
  namespace           = "SmallEtl"
  metric_name         = "FailedLoads"
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "Environment" = var.environment }
}

resource "aws_cloudwatch_metric_alarm" "temporary_disk" {
  alarm_name          = "${local.stack}-temporary-disk"
  alarm_description   = "Less than 512 MB were left on the temporary disk of ingest. First see how large the file was, then raise EphemeralStorage in the template (at most 10,240)."
  namespace           = "SmallEtl"
  metric_name         = "TemporaryDiskFree"
  statistic           = "Minimum"
  comparison_operator = "LessThanThreshold"
  threshold           = 512
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "Environment" = var.environment }
}

resource "aws_cloudwatch_metric_alarm" "database_out" {
  alarm_name          = "${local.stack}-database-unreachable"
  alarm_description   = "Ingest did not reach the database after all retries. Files wait in the queue. First see whether the database runs, then its security group and, after a change of password, its secret."
  namespace           = "SmallEtl"
  metric_name         = "DatabaseUnreachable"
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "Environment" = var.environment }
}

resource "aws_cloudwatch_metric_alarm" "parked_too_long" {
  alarm_name          = "${local.stack}-parked"
  alarm_description   = "A row has waited for its account for more than ${var.parked_alarm_days} days. First look into etl.parked for the account that is missing, then ask for the file of assets that contains it."
  namespace           = "SmallEtl"
  metric_name         = "OldestParkedDays"
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.parked_alarm_days
  period              = 3600
  evaluation_periods  = 1
  treat_missing_data  = "ignore"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "Environment" = var.environment }
}

resource "aws_cloudwatch_metric_alarm" "missing_file" {
  alarm_name          = "${local.stack}-missing-file"
  alarm_description   = "A file that the calendar of its dataset expects did not arrive. First read the night's report under reconciliations/, then ask the sender."
  namespace           = "SmallEtl"
  metric_name         = "MissingFiles"
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 3600
  evaluation_periods  = 1
  treat_missing_data  = "ignore"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "Environment" = var.environment }
}

resource "aws_cloudwatch_metric_alarm" "discrepancy" {
  alarm_name          = "${local.stack}-discrepancy"
  alarm_description   = "The nightly run found the tables, the ledger and the bucket at odds. First read the night's report under reconciliations/, which names each difference; load nothing by hand before that."
  namespace           = "SmallEtl"
  metric_name         = "Discrepancies"
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 3600
  evaluation_periods  = 1
  treat_missing_data  = "ignore"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "Environment" = var.environment }
}

# A new stack begins without data and tells nobody; once a night has been seen, its lack is told. A first night that never comes
# is among the failed runs.
resource "aws_cloudwatch_metric_alarm" "no_reconciliation" {
  alarm_name                = "${local.stack}-no-reconciliation"
  alarm_description         = "No nightly run has finished for 25 hours. It is then without data, not in alarm. First see the queue FailedRuns, then the log of ingest at 20:00 UTC."
  namespace                 = "SmallEtl"
  metric_name               = "Reconciliations"
  statistic                 = "Sum"
  comparison_operator       = "LessThanThreshold"
  threshold                 = 1
  period                    = 3600
  evaluation_periods        = 25
  treat_missing_data        = "missing"
  alarm_actions             = [aws_sns_topic.alarms.arn]
  insufficient_data_actions = [aws_sns_topic.alarms.arn]
  ok_actions                = [aws_sns_topic.alarms.arn]
  dimensions                = { "Environment" = var.environment }
}

resource "aws_cloudwatch_metric_alarm" "dead_letter" {
  alarm_name          = "${local.stack}-dead-letters"
  alarm_description   = "A file failed five times, or its event never reached the queue. First search the log of ingest for its key, correct the cause, then `make redrive ENV=…` sends it back to the queue."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "QueueName" = aws_sqs_queue.dead_letters.name }
}

resource "aws_cloudwatch_metric_alarm" "failed_run" {
  alarm_name          = "${local.stack}-failed-run"
  alarm_description   = "A nightly run could not be started, or failed three times. First read the message, which has the error, then start it by hand with {\"reconcile\": {}}. If the message names a topic of Kafka, its records from startOffset to endOffset expired before they could be loaded, and must come from their sender again. If it is of aws.batch, a large file was not loaded: read its load in the ledger, then the log large-files; the next night sends it again unless it has failed."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "QueueName" = aws_sqs_queue.failed_runs.name }
}

resource "aws_cloudwatch_metric_alarm" "queue_age" {
  alarm_name          = "${local.stack}-queue-age"
  alarm_description   = "A file has waited for more than four hours. First see whether a deployment stopped before ingest took events again (parameter AcceptEvents); a backfill may take as long by itself."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 14400
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "QueueName" = aws_sqs_queue.queue.name }
}

resource "aws_cloudwatch_metric_alarm" "ingest_error" {
  alarm_name          = "${local.stack}-ingest-errors"
  alarm_description   = "An invocation of ingest crashed, ran out of time or memory, or was called directly and answered with an error. First search its log for the last line before the end. A message that fails is tried again, and finally goes to the dead letters."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "FunctionName" = aws_lambda_function.ingest.function_name }
}

resource "aws_cloudwatch_metric_alarm" "ingest_throttled" {
  alarm_name          = "${local.stack}-ingest-throttled"
  alarm_description   = "Calls of ingest were refused for a quarter of an hour, since as many as may run were running. Files wait in the queue. First see whether the account has fewer calls at once than ReservedConcurrency + 10, then what else runs in it."
  namespace           = "AWS/Lambda"
  metric_name         = "Throttles"
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "FunctionName" = aws_lambda_function.ingest.function_name }
}

resource "aws_cloudwatch_metric_alarm" "migrate_error" {
  alarm_name          = "${local.stack}-migrate-failed"
  alarm_description   = "The function migrate failed. Where its deployment held the queue back, ingest takes no files until it is mended. First read what the deployment printed, or the last lines of the log of migrate; then deploy again."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 60
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "FunctionName" = aws_lambda_function.migrate.function_name }
}

resource "aws_cloudwatch_metric_alarm" "failed_backfill" {
  alarm_name          = "${local.stack}-failed-backfill"
  alarm_description   = "A backfill failed. What was sent before is in the queue and is loaded. First open the execution in Step Functions, which names the cause; then redrive it there, which goes on where it stopped."
  namespace           = "AWS/States"
  metric_name         = "ExecutionsFailed"
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "StateMachineArn" = aws_sfn_state_machine.backfill.arn }
}

resource "aws_cloudwatch_metric_alarm" "stream_lag" {
  count               = local.streaming ? 1 : 0
  alarm_name          = "${local.stack}-kafka-lag"
  alarm_description   = "For half an hour more records than KafkaLag were in the topic of Kafka and not loaded. What expires there before it is loaded is lost. First see whether ingest fails or is throttled, then whether the state of its mapping says that the network lets it reach no brokers."
  namespace           = "AWS/Lambda"
  metric_name         = "OffsetLag"
  statistic           = "Minimum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.kafka_lag
  period              = 300
  evaluation_periods  = 6
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "FunctionName" = aws_lambda_function.ingest.function_name }
}

resource "aws_cloudwatch_metric_alarm" "database_storage" {
  count               = local.new_database ? 1 : 0
  alarm_name          = "${local.stack}-database-storage"
  alarm_description   = "Less than 2 GB are free in the database, although it grows by itself up to 200 GB. First see what grew (pg_total_relation_size), then raise MaxAllocatedStorage in the template."
  namespace           = "AWS/RDS"
  metric_name         = "FreeStorageSpace"
  statistic           = "Minimum"
  comparison_operator = "LessThanThreshold"
  threshold           = 2147483648
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "DBInstanceIdentifier" = aws_db_instance.database[0].identifier }
}

resource "aws_cloudwatch_metric_alarm" "database_memory" {
  count               = local.new_database ? 1 : 0
  alarm_name          = "${local.stack}-database-memory"
  alarm_description   = "Less than 64 MB of memory are free in the database for a quarter of an hour; it will swap. First see in Database Insights which query takes it, then choose a larger DatabaseClass."
  namespace           = "AWS/RDS"
  metric_name         = "FreeableMemory"
  statistic           = "Maximum"
  comparison_operator = "LessThanThreshold"
  threshold           = 67108864
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "DBInstanceIdentifier" = aws_db_instance.database[0].identifier }
}

resource "aws_cloudwatch_metric_alarm" "database_credits" {
  count               = local.new_database ? 1 : 0
  alarm_name          = "${local.stack}-database-credits"
  alarm_description   = "The database has used more processor than its class (db.t4g, db.t3) includes, and what is above is charged. First see whether a backfill is under way; if it stays, a db.m class costs less. Other classes have no such metric."
  namespace           = "AWS/RDS"
  metric_name         = "CPUSurplusCreditsCharged"
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  dimensions          = { "DBInstanceIdentifier" = aws_db_instance.database[0].identifier }
}

resource "aws_cloudwatch_query_definition" "fate_of_file" {
  name            = "${local.stack}/what became of this file"
  log_group_names = [for each in [aws_cloudwatch_log_group.ingest_log.name, (local.large ? aws_cloudwatch_log_group.large_files_log[0].name : null)] : each if each != null]
  query_string    = "# put the key of the file, or the end of it, between the slashes\nfields @timestamp, level, message, status, reason, error, span.load_id, read, inserted, updated, removed, unchanged, stale, parked, rejected, elapsed_ms, span.key\n| filter span.key like /incoming\\/trades\\/2025-12-22.csv/\n| sort @timestamp asc\n| limit 200\n"
}

resource "aws_cloudwatch_query_definition" "slowest_files" {
  name            = "${local.stack}/slowest files"
  log_group_names = [aws_cloudwatch_log_group.ingest_log.name]
  query_string    = "fields @timestamp, span.key, span.dataset, status, read, elapsed_ms, read * 1000 / elapsed_ms as rows_per_second, span.load_id\n| filter message = \"file ended\"\n| sort elapsed_ms desc\n| limit 50\n"
}

resource "aws_cloudwatch_dashboard" "dashboard" {
  dashboard_name = local.stack
  dashboard_body = "{\"start\": \"-P1D\", \"widgets\": [\n  {\"type\": \"alarm\", \"x\": 0, \"y\": 0, \"width\": 24, \"height\": 3, \"properties\": {\"title\": \"Alarms\", \"alarms\": [\n      \"${aws_cloudwatch_metric_alarm.slow_load.arn}\", \"${aws_cloudwatch_metric_alarm.many_rejects.arn}\", \"${aws_cloudwatch_metric_alarm.memory.arn}\", \"${aws_cloudwatch_metric_alarm.slow_batch.arn}\", \"${aws_cloudwatch_metric_alarm.connection_budget.arn}\", \"${aws_cloudwatch_metric_alarm.failed_load.arn}\", \"${aws_cloudwatch_metric_alarm.temporary_disk.arn}\", \"${aws_cloudwatch_metric_alarm.database_out.arn}\",\n      \"${aws_cloudwatch_metric_alarm.parked_too_long.arn}\", \"${aws_cloudwatch_metric_alarm.missing_file.arn}\", \"${aws_cloudwatch_metric_alarm.discrepancy.arn}\", \"${aws_cloudwatch_metric_alarm.no_reconciliation.arn}\", \"${aws_cloudwatch_metric_alarm.dead_letter.arn}\", \"${aws_cloudwatch_metric_alarm.failed_run.arn}\", \"${aws_cloudwatch_metric_alarm.queue_age.arn}\", \"${aws_cloudwatch_metric_alarm.ingest_error.arn}\",\n      \"${aws_cloudwatch_metric_alarm.ingest_throttled.arn}\", \"${aws_cloudwatch_metric_alarm.migrate_error.arn}\", \"${aws_cloudwatch_metric_alarm.failed_backfill.arn}\"${(local.streaming ? ", \"${aws_cloudwatch_metric_alarm.stream_lag[0].arn}\"" : "")}${(local.new_database ? ", \"${aws_cloudwatch_metric_alarm.database_storage[0].arn}\", \"${aws_cloudwatch_metric_alarm.database_memory[0].arn}\", \"${aws_cloudwatch_metric_alarm.database_credits[0].arn}\"" : "")}\n    ]}},\n  {\"type\": \"metric\", \"x\": 0, \"y\": 3, \"width\": 16, \"height\": 7, \"properties\": {\"title\": \"Rows by outcome\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Sum\", \"period\": 300,\n    \"metrics\": [\n      [\"SmallEtl\", \"Read\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"Inserted\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"Updated\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"Removed\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"Unchanged\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"Stale\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"Parked\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"Rejected\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"Withheld\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"Warnings\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"Released\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"Deleted\", \"Environment\", \"${var.environment}\"]\n    ]}},\n  {\"type\": \"metric\", \"x\": 16, \"y\": 3, \"width\": 8, \"height\": 7, \"properties\": {\"title\": \"Rows read, by dataset\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Sum\", \"period\": 300,\n    \"metrics\": [\n      [{\"expression\": \"SEARCH('{SmallEtl,Dataset,Environment} MetricName=\\\"Read\\\" Environment=\\\"${var.environment}\\\"', 'Sum', 300)\", \"id\": \"read\", \"label\": \"\"}]\n    ]}},\n  {\"type\": \"metric\", \"x\": 0, \"y\": 10, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Rows a second\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Average\", \"period\": 300, \"annotations\": {\"horizontal\": [{\"value\": 1000, \"label\": \"alarm below\"}]},\n    \"metrics\": [\n      [\"SmallEtl\", \"RowsPerSecond\", \"Environment\", \"${var.environment}\", {\"stat\": \"Average\"}],\n      [\"SmallEtl\", \"LargeFileRowsPerSecond\", \"Environment\", \"${var.environment}\", {\"stat\": \"Minimum\", \"label\": \"slowest of 10,000 rows and more\"}]\n    ]}},\n  {\"type\": \"metric\", \"x\": 8, \"y\": 10, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Reject rate, percent\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Maximum\", \"period\": 300, \"annotations\": {\"horizontal\": [{\"value\": 1, \"label\": \"alarm above\"}]},\n    \"metrics\": [\n      [\"SmallEtl\", \"RejectRate\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"LargeFileRejectRate\", \"Environment\", \"${var.environment}\", {\"label\": \"worst of 10,000 rows and more\"}]\n    ]}},\n  {\"type\": \"metric\", \"x\": 16, \"y\": 10, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Rows rejected, by dataset\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Sum\", \"period\": 300,\n    \"metrics\": [\n      [{\"expression\": \"SEARCH('{SmallEtl,Dataset,Environment} MetricName=\\\"Rejected\\\" Environment=\\\"${var.environment}\\\"', 'Sum', 300)\", \"id\": \"rejected\", \"label\": \"\"}]\n    ]}},\n  {\"type\": \"metric\", \"x\": 0, \"y\": 16, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Peak memory, MB\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Maximum\", \"period\": 300, \"annotations\": {\"horizontal\": [{\"value\": 2048, \"label\": \"alarm above\"}]},\n    \"metrics\": [\n      [\"SmallEtl\", \"PeakMemory\", \"Environment\", \"${var.environment}\"]\n    ]}},\n  {\"type\": \"metric\", \"x\": 8, \"y\": 16, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Slowest batch, ms\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Maximum\", \"period\": 300, \"annotations\": {\"horizontal\": [{\"value\": 10000, \"label\": \"alarm above\"}]},\n    \"metrics\": [\n      [\"SmallEtl\", \"SlowestBatch\", \"Environment\", \"${var.environment}\"]\n    ]}},\n  {\"type\": \"metric\", \"x\": 16, \"y\": 16, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Connections\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Maximum\", \"period\": 300, \"annotations\": {\"horizontal\": [{\"value\": 9, \"label\": \"alarm from\"}]},\n    \"metrics\": [\n      [\"SmallEtl\", \"Connections\", \"Environment\", \"${var.environment}\"]\n    ]}},\n  {\"type\": \"metric\", \"x\": 0, \"y\": 22, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Time of a file and of a start, ms\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Maximum\", \"period\": 300,\n    \"metrics\": [\n      [\"SmallEtl\", \"Elapsed\", \"Environment\", \"${var.environment}\", {\"stat\": \"p50\", \"label\": \"file, median\"}],\n      [\"SmallEtl\", \"Elapsed\", \"Environment\", \"${var.environment}\", {\"stat\": \"Maximum\", \"label\": \"file, longest\"}],\n      [\"SmallEtl\", \"InitTime\", \"Environment\", \"${var.environment}\", {\"stat\": \"Maximum\", \"label\": \"start, longest\"}]\n    ]}},\n  {\"type\": \"metric\", \"x\": 8, \"y\": 22, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Temporary disk free, MB\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Minimum\", \"period\": 300, \"annotations\": {\"horizontal\": [{\"value\": 512, \"label\": \"alarm below\"}]},\n    \"metrics\": [\n      [\"SmallEtl\", \"TemporaryDiskFree\", \"Environment\", \"${var.environment}\"]\n    ]}},\n  {\"type\": \"metric\", \"x\": 16, \"y\": 22, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Failures\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Sum\", \"period\": 300,\n    \"metrics\": [\n      [\"SmallEtl\", \"FailedLoads\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"DatabaseUnreachable\", \"Environment\", \"${var.environment}\"],\n      [\"AWS/Lambda\", \"Errors\", \"FunctionName\", \"${aws_lambda_function.ingest.function_name}\", {\"label\": \"errors of ingest\"}],\n      [\"AWS/Lambda\", \"Throttles\", \"FunctionName\", \"${aws_lambda_function.ingest.function_name}\", {\"label\": \"throttles of ingest\"}],\n      [\"AWS/Lambda\", \"Errors\", \"FunctionName\", \"${aws_lambda_function.migrate.function_name}\", {\"label\": \"errors of migrate\"}],\n      [\"AWS/States\", \"ExecutionsFailed\", \"StateMachineArn\", \"${aws_sfn_state_machine.backfill.arn}\", {\"label\": \"failed backfills\"}]\n    ]}},\n  {\"type\": \"metric\", \"x\": 0, \"y\": 28, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Queue\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Maximum\", \"period\": 300,\n    \"metrics\": [\n      [\"AWS/SQS\", \"ApproximateNumberOfMessagesVisible\", \"QueueName\", \"${aws_sqs_queue.queue.name}\", {\"label\": \"files waiting\"}],\n      [\"AWS/SQS\", \"ApproximateNumberOfMessagesNotVisible\", \"QueueName\", \"${aws_sqs_queue.queue.name}\", {\"label\": \"files at work, or held back\"}],\n      [\"AWS/SQS\", \"ApproximateAgeOfOldestMessage\", \"QueueName\", \"${aws_sqs_queue.queue.name}\", {\"label\": \"oldest, seconds\", \"yAxis\": \"right\"}]\n    ]}},\n  {\"type\": \"metric\", \"x\": 8, \"y\": 28, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Dead letters and failed runs\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Maximum\", \"period\": 300,\n    \"metrics\": [\n      [\"AWS/SQS\", \"ApproximateNumberOfMessagesVisible\", \"QueueName\", \"${aws_sqs_queue.dead_letters.name}\", {\"label\": \"dead letters\"}],\n      [\"AWS/SQS\", \"ApproximateNumberOfMessagesVisible\", \"QueueName\", \"${aws_sqs_queue.failed_runs.name}\", {\"label\": \"failed runs\"}]\n    ]}},\n  {\"type\": \"metric\", \"x\": 16, \"y\": 28, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Nightly run\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Maximum\", \"period\": 3600,\n    \"metrics\": [\n      [\"SmallEtl\", \"Reconciliations\", \"Environment\", \"${var.environment}\", {\"stat\": \"Sum\"}],\n      [\"SmallEtl\", \"FilesSent\", \"Environment\", \"${var.environment}\", {\"stat\": \"Sum\"}],\n      [\"SmallEtl\", \"MissingFiles\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"Discrepancies\", \"Environment\", \"${var.environment}\"],\n      [\"SmallEtl\", \"OldestParkedDays\", \"Environment\", \"${var.environment}\", {\"label\": \"oldest parked row, days\", \"yAxis\": \"right\"}]\n    ]}}${(local.new_database ? ",\n{\"type\": \"metric\", \"x\": 0, \"y\": 34, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Database: processor, percent\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Average\", \"period\": 300,\n  \"metrics\": [\n    [\"AWS/RDS\", \"CPUUtilization\", \"DBInstanceIdentifier\", \"${aws_db_instance.database[0].identifier}\"],\n    [\"AWS/RDS\", \"CPUCreditBalance\", \"DBInstanceIdentifier\", \"${aws_db_instance.database[0].identifier}\", {\"label\": \"credits left (db.t)\", \"yAxis\": \"right\"}],\n    [\"AWS/RDS\", \"CPUSurplusCreditsCharged\", \"DBInstanceIdentifier\", \"${aws_db_instance.database[0].identifier}\", {\"label\": \"credits that are charged\", \"yAxis\": \"right\"}]\n  ]}},\n{\"type\": \"metric\", \"x\": 8, \"y\": 34, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Database: memory and storage free, bytes\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Minimum\", \"period\": 300,\n  \"metrics\": [\n    [\"AWS/RDS\", \"FreeableMemory\", \"DBInstanceIdentifier\", \"${aws_db_instance.database[0].identifier}\"],\n    [\"AWS/RDS\", \"FreeStorageSpace\", \"DBInstanceIdentifier\", \"${aws_db_instance.database[0].identifier}\", {\"yAxis\": \"right\"}]\n  ]}},\n{\"type\": \"metric\", \"x\": 16, \"y\": 34, \"width\": 8, \"height\": 6, \"properties\": {\"title\": \"Database: connections and waiting writes\", \"region\": \"${data.aws_region.current.name}\", \"stat\": \"Maximum\", \"period\": 300,\n  \"metrics\": [\n    [\"AWS/RDS\", \"DatabaseConnections\", \"DBInstanceIdentifier\", \"${aws_db_instance.database[0].identifier}\"],\n    [\"AWS/RDS\", \"DiskQueueDepth\", \"DBInstanceIdentifier\", \"${aws_db_instance.database[0].identifier}\", {\"yAxis\": \"right\"}]\n  ]}}" : "")}\n]}\n"
}

resource "aws_lambda_function" "ingest" {
  function_name                  = "${local.stack}-Ingest"
  filename                       = var.ingest_zip
  source_code_hash               = filebase64sha256(var.ingest_zip)
  publish                        = true
  tags                           = { "Application" = "small-etl", "Environment" = var.environment }
  handler                        = "bootstrap"
  memory_size                    = 2560
  role                           = aws_iam_role.ingest_role.arn
  runtime                        = "provided.al2023"
  timeout                        = 900
  reserved_concurrent_executions = (local.reserved ? var.reserved_concurrency : null)
  architectures                  = [var.architecture]
  description                    = "Loads one file into Postgres; at night reconciles the bucket with the ledger"
  depends_on                     = [aws_iam_role_policy.ingest_role, aws_iam_role_policy_attachment.ingest_role, aws_iam_role_policy_attachment.ingest_role_1]

  ephemeral_storage {
    size = 6144
  }

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.ingest_log.name
  }

  dead_letter_config {
    target_arn = aws_sqs_queue.failed_runs.arn
  }

  tracing_config {
    mode = "Active"
  }

  vpc_config {
    subnet_ids         = (local.new_vpc ? [aws_subnet.subnet_a[0].id, aws_subnet.subnet_b[0].id] : split(",", var.subnet_ids))
    security_group_ids = [aws_security_group.function_group.id]
  }

  environment {
    variables = { for name, each in { "SMALL_ETL_ENV" = var.environment, "SMALL_ETL__LOG__FORMAT" = "json", "SMALL_ETL__DATABASE__TLS" = "verify-full", "SMALL_ETL__DATABASE__ROOT_CERTIFICATES" = "/var/task/rds.pem", "DATABASE_URL" = "postgres://small_etl_ingest@${(local.new_database ? aws_db_instance.database[0].address : var.database_host)}:${var.database_port}/${var.database_name}", "SMALL_ETL__DATABASE__LOGIN" = (local.iam_login ? "iam" : "secret"), "SMALL_ETL__DATABASE__SECRET_ARN" = (local.iam_login ? null : var.ingest_secret_arn), "SMALL_ETL__SOURCE__BUCKET" = (local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket), "SMALL_ETL__QUEUE__URL" = aws_sqs_queue.queue.url, "SMALL_ETL__QUEUE__LARGE_URL" = (local.large ? aws_sqs_queue.large_files_queue[0].url : null), "SMALL_ETL__REJECTS__RETENTION_DAYS" = var.rejects_retention_days, "SMALL_ETL__EVENTS__BUS" = (local.announcing ? var.event_bus_name : null), "SMALL_ETL__ENCRYPTION__KMS_KEY" = (local.column_key ? var.kms_key_arn : null), "OTEL_TRACES_EXPORTER" = "xray" } : name => each if each != null }
  }
}

resource "aws_lambda_function_recursion_config" "ingest" {
  function_name  = aws_lambda_function.ingest.function_name
  recursive_loop = "Allow"
}

resource "aws_lambda_alias" "ingest_aliaslive" {
  name             = "live"
  function_name    = aws_lambda_function.ingest.function_name
  function_version = aws_lambda_function.ingest.version
  depends_on       = [aws_lambda_invocation.migrate]
}

resource "aws_lambda_event_source_mapping" "ingest_queue" {
  batch_size              = 1
  enabled                 = true
  event_source_arn        = aws_sqs_queue.queue.arn
  function_name           = aws_lambda_alias.ingest_aliaslive.arn
  function_response_types = ["ReportBatchItemFailures"]
  depends_on              = [aws_lambda_invocation.migrate]

  scaling_config {
    maximum_concurrency = (local.large ? 2 : 3)
  }
}

resource "aws_lambda_function" "migrate" {
  function_name    = "${local.stack}-Migrate"
  filename         = var.migrate_zip
  source_code_hash = filebase64sha256(var.migrate_zip)
  publish          = false
  tags             = { "Application" = "small-etl", "Environment" = var.environment }
  handler          = "bootstrap"
  memory_size      = 256
  role             = aws_iam_role.migrate_role.arn
  runtime          = "provided.al2023"
  timeout          = 900
  architectures    = [var.architecture]
  description      = "Brings the schema to the version that ingest needs"
  depends_on       = [aws_iam_role_policy.migrate_role, aws_iam_role_policy_attachment.migrate_role]

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.migrate_log.name
  }

  tracing_config {
    mode = "Active"
  }

  vpc_config {
    subnet_ids         = (local.new_vpc ? [aws_subnet.subnet_a[0].id, aws_subnet.subnet_b[0].id] : split(",", var.subnet_ids))
    security_group_ids = [aws_security_group.function_group.id]
  }

  environment {
    variables = { "SMALL_ETL_ENV" = var.environment, "SMALL_ETL__LOG__FORMAT" = "json", "SMALL_ETL__DATABASE__TLS" = "verify-full", "SMALL_ETL__DATABASE__ROOT_CERTIFICATES" = "/var/task/rds.pem", "DATABASE_URL" = "postgres://${(local.new_database ? aws_db_instance.database[0].address : var.database_host)}:${var.database_port}/${var.database_name}", "SMALL_ETL__DATABASE__LOGIN" = "secret", "SMALL_ETL__DATABASE__SECRET_ARN" = (local.new_database ? aws_db_instance.database[0].master_user_secret[0].secret_arn : var.database_secret_arn), "SMALL_ETL__MIGRATIONS__RDS_IAM" = (local.iam_login ? "true" : "false") }
  }
}
