//! The only place that names a vendor: files and S3, the web, SQS, `EventBridge`, KMS, secrets, CSV, Parquet, `DuckDB`
//! and Postgres, each in one file or folder.

pub mod ahead;
pub mod archive;
pub mod aws;
pub mod cipher;
pub mod csv;
pub mod duckdb;
pub mod event_bus;
mod feed;
pub mod json_lines;
pub mod kept;
pub mod kms;
pub mod listing;
pub mod parquet;
mod parquet_pages;
pub mod postgres;
pub mod retry;
pub mod s3;
pub mod secrets;
pub mod sent;
pub mod sqs;
pub mod traces;
pub mod web;
