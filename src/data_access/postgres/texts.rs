//! Texts that a file has, in a temporary table: keys, or what its rows refer to.

use std::pin::pin;

use bytes::Bytes;
use deadpool_postgres::Transaction;
use futures::{SinkExt, Stream, TryStreamExt};

use super::query_error;
use crate::error::Result;

/// Creates `pg_temp.file_key (key text)` and fills it. Returns how many texts are missing, because a value of theirs is null or cannot be read.
pub(super) async fn copy_texts(
    transaction: &Transaction<'_>,
    texts: impl Stream<Item = Result<Vec<Option<String>>>>,
) -> Result<usize> {
    let failed = |error| query_error("copy the keys of the file", error);
    let create = "set local client_min_messages = warning; set local work_mem = '64MB'; \
        create temporary table if not exists file_key (key text) on commit delete rows";
    transaction.batch_execute(create).await.map_err(failed)?;
    let mut sink = pin!(transaction.copy_in::<_, Bytes>("copy pg_temp.file_key from stdin").await.map_err(failed)?);
    let mut texts = pin!(texts);
    let mut missing = 0;
    while let Some(texts) = texts.try_next().await? {
        let mut lines = String::new();
        for text in &texts {
            let Some(text) = text else {
                missing += 1;
                continue;
            };
            // As `copy` reads text.
            let text = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
            lines.push_str(&text);
            lines.push('\n');
        }
        sink.send(lines.into()).await.map_err(failed)?;
    }
    sink.finish().await.map_err(failed)?;
    Ok(missing)
}
