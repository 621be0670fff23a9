//! A loader that writes the accepted rows of each load to a folder, as CSV. A load that comes twice replaces its own
//! file.

use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use serde::Deserialize;
use small_etl::arrow::util::display::array_value_to_string;
use small_etl::{Database, Error, LoadWork, Loader, Loading, PartSettings, Result, async_trait};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Folder {
    path: PathBuf,
}

pub(crate) fn make(settings: &PartSettings<'_>) -> Result<Arc<dyn Loader>> {
    Ok(Arc::new(settings.options::<Folder>()?))
}

#[async_trait]
impl Loader for Folder {
    async fn load(&self, _: &Database, work: &LoadWork) -> Result<Loading> {
        let unwritable = |error: std::io::Error| Error::system("write to the folder", error);
        let file = self.path.join(format!("{}.csv", work.claim.load_id));
        let unfinished = file.with_extension("unfinished");
        let mut out = csv::Writer::from_path(&unfinished).map_err(|error| unwritable(error.into()))?;
        let mut chunks = std::pin::pin!(work.accepted()?);
        while let Some(chunk) = chunks.try_next().await? {
            for rows in &chunk {
                for row in 0..rows.num_rows() {
                    let cells = rows.columns().iter().map(|column| array_value_to_string(column, row));
                    let cells = cells.collect::<std::result::Result<Vec<_>, _>>();
                    let cells = cells.map_err(|error| Error::system("print a row", error))?;
                    out.write_record(cells).map_err(|error| unwritable(error.into()))?;
                }
            }
        }
        out.flush().map_err(unwritable)?;
        std::fs::rename(unfinished, file).map_err(unwritable)?;
        Ok(Loading::Done)
    }
}
