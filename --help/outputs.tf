# Made from template.yaml by `make terraform`. Change that.

output "bucket_name" {
  value       = (local.new_bucket ? aws_s3_bucket.bucket[0].id : var.existing_bucket)
  description = "Put files below the incoming prefix of this bucket"
}

output "queue_url" {
  value       = aws_sqs_queue.queue.url
  description = "Files on their way to ingest"
}

output "dead_letters_url" {
  value       = aws_sqs_queue.dead_letters.url
  description = "Files that failed five times"
}

output "ingest_function" {
  value       = aws_lambda_function.ingest.function_name
  description = "Loads files"
}

output "ingest_alias" {
  value       = aws_lambda_alias.ingest_aliaslive.arn
  description = "The version that files go to; direct calls go here, too"
}

output "migrate_function" {
  value       = aws_lambda_function.migrate.function_name
  description = "The deployment invokes it before ingest takes events"
}

output "backfill_state_machine" {
  value       = aws_sfn_state_machine.backfill.arn
  description = "Start it with {\"prefix\": \"incoming/trades/\"} to load the files that were already there"
}

output "dashboard_url" {
  value       = "https://console.aws.amazon.com/cloudwatch/home?region=${data.aws_region.current.name}#dashboards/dashboard/${aws_cloudwatch_dashboard.dashboard.dashboard_name}"
  description = "Everything at a glance"
}

output "alarm_topic" {
  value       = aws_sns_topic.alarms.arn
  description = "Subscribe to this topic"
}

output "database_endpoint" {
  value       = "${(local.new_database ? aws_db_instance.database[0].address : var.database_host)}:${var.database_port}/${var.database_name}"
  description = "Where the rows are"
}
