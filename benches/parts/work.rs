//! The computing parts of a load, on a fixed file, for the micro-benchmarks and for counting their instructions.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use small_etl::config::Settings;
use small_etl::data_access::csv::Records;
use small_etl::data_access::duckdb::Stage;
use small_etl::data_access::postgres::CopyRows;
use small_etl::domain::{Dataset, Location};
use small_etl::pipeline::Context;
use small_etl::sample::{self, SampleOptions};
use small_etl::services::{self, Pipeline};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Everything that the parts need.
pub struct Parts {
    context: Context,
    dataset: Dataset,
    file: PathBuf,
    runtime: Runtime,
    _folder: TempDir,
}

impl Parts {
    /// Creates a file with this many trades.
    pub fn new(rows: u64) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let file = folder.path().join("trades.csv");
        let mut out = BufWriter::new(File::create(&file).expect("create the file"));
        let options = SampleOptions { rows, accounts: 1000, seed: 1, broken_every: 0 };
        sample::trades(&mut out, options).expect("make trades");
        out.flush().expect("write the file");
        let settings = [("SMALL_ETL__STAGE__THREADS".to_owned(), "1".to_owned())];
        let settings = Settings::from_variables(settings).expect("the settings are good");
        let runtime = Runtime::new().expect("start a runtime");
        let context = runtime.block_on(async {
            small_etl::start::context(&settings, &services::Parts::default()).expect("the settings are good")
        });
        let dataset = context.datasets.get("trade").expect("trade is known").clone();
        Self { context, dataset, file, runtime, _folder: folder }
    }

    fn pipeline(&self) -> &Pipeline {
        self.context.pipeline(&self.dataset.name).expect("the dataset is known")
    }

    /// Splits the file into records.
    pub fn split(&self) -> usize {
        let mut records =
            Records::new(BufReader::new(File::open(&self.file).expect("open the file"))).expect("read it");
        let mut fields = 0;
        while let Some(record) = records.next_record().expect("it is well formed") {
            fields += record.len();
        }
        fields
    }

    /// Splits the file, reads its cells, and appends them to a staging database.
    pub fn stage(&self) -> Arc<Stage> {
        let stage = Arc::new(self.context.stages.open(Arc::default()).expect("open a stage"));
        self.runtime.block_on(async {
            let extractor = self.pipeline().extractor(&"trade.csv".into()).expect("it reads everything");
            let object = extractor.identify(&Location::File(self.file.clone())).await.expect("it is there");
            extractor.extract(&object, &self.dataset, &stage).await.expect("it is good");
        });
        stage
    }

    /// Runs all rules on a stage.
    pub fn validate(&self, stage: &Arc<Stage>) -> i64 {
        let validated = self.runtime.block_on(self.pipeline().validate(&self.dataset, stage));
        validated.expect("the rules run").accepted
    }

    /// Reads back the rows of a stage.
    pub fn read(&self, stage: &Stage) -> Vec<RecordBatch> {
        let columns: Vec<String> = self.dataset.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        let query = format!("select _record, _line, {} from staged where _ok", columns.join(", "));
        stage.query(&query).expect("they are there")
    }

    /// Encodes rows for COPY.
    pub fn encode(&self, rows: &[RecordBatch]) -> CopyRows {
        CopyRows::encode(&self.dataset, None, rows).expect("they can be encoded")
    }
}
