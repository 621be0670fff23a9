//! The only place where a vendor is named: files and S3, CSV, `DuckDB`, Postgres. One file or folder each.

pub mod archive;
pub mod csv;
pub mod duckdb;
pub mod postgres;
pub mod s3;
