//! The extractor `kafka`: lands records of a stream, which an event source mapping hands to the function, each of them
//! once.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::form::Form;
use super::landing::{Landing, Place, Source};
use super::part_settings::PartSettings;
use crate::data_access::csv::Records;
use crate::data_access::retry::retrying;
use crate::domain::{Arrival, Dataset, Location, ObjectKey, RecordBatch, StreamRecord};
use crate::error::{Error, Result};

const VERTICAL_TAB: u8 = 0x0b;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// The topics whose records it takes.
    topics: Vec<String>,
    /// The text before each key; `(CLUSTER/)TOPIC/PARTITION/LAST-FIRST.jsonl` follows it, with the offsets of the first and the last record.
    prefix: String,
    /// The bucket to land in; by default `source.bucket`.
    bucket: Option<String>,
    /// What a record consists of.
    form: Form,
    /// The columns of the cells of a CSV record, from the first on; by default those of the dataset.
    columns: Option<Vec<String>>,
}

/// The part `kafka`.
pub struct KafkaSource {
    topics: Vec<String>,
    columns: Option<Vec<String>>,
}

impl KafkaSource {
    /// Reads from the settings which topics to take.
    ///
    /// # Errors
    /// `Configuration` if an option is unknown or does not fit the others, or if no bucket is set.
    pub fn extractor(settings: &PartSettings<'_>) -> Result<Landing<Self>> {
        let options: Options = settings.options()?;
        if options.columns.is_some() && options.form != Form::Csv {
            return Err(settings.refuse("columns are for form = \"csv\""));
        }
        let place = Place::new(settings, options.bucket, options.prefix, options.form)?;
        Ok(Landing::new(place, Self { topics: options.topics, columns: options.columns }))
    }

    fn columns(&self, dataset: &Dataset) -> Vec<String> {
        let own = || dataset.file_columns().iter().map(|column| column.name.clone()).collect();
        self.columns.clone().unwrap_or_else(own)
    }
}

/// An object that holds the records of one partition from one offset to another.
struct Landed {
    first: u64,
    last: u64,
    key: ObjectKey,
}

impl Landed {
    /// The name begins with the last offset, so that a listing that starts after an offset contains nothing that ends
    /// before it.
    fn name(first: u64, last: u64, form: Form) -> String {
        format!("{last:020}-{first:020}.{}", form.extension())
    }

    fn of(key: ObjectKey) -> Option<Self> {
        let (_, name) = key.as_str().rsplit_once('/')?;
        let (last, first) = name.split_once('.')?.0.split_once('-')?;
        Some(Self { first: first.parse().ok()?, last: last.parse().ok()?, key })
    }
}

#[async_trait]
impl Source for KafkaSource {
    fn takes(&self, arrival: &Arrival) -> bool {
        matches!(arrival, Arrival::Records(batch) if self.topics.contains(&batch.topic))
    }

    fn check(&self, dataset: &Dataset) -> Result<()> {
        let columns = self.columns(dataset);
        match dataset.file_columns().iter().find(|column| !columns.contains(&column.name)) {
            None => Ok(()),
            Some(column) => Err(Error::configuration(format!(
                "extractor kafka: columns lacks {}, which dataset {} needs",
                column.name, dataset.name
            ))),
        }
    }

    /// Lands the records that no object holds yet: of a batch that comes again, or that overlaps with another, only the
    /// new ones.
    async fn land(&self, place: &Place, arrival: &Arrival, dataset: &Dataset) -> Result<Vec<Location>> {
        let Arrival::Records(RecordBatch { cluster, topic, partition, records }) = arrival else {
            return Ok(Vec::new());
        };
        let mut records: Vec<&StreamRecord> = records.iter().collect();
        records.sort_by_key(|record| record.offset);
        records.dedup_by_key(|record| record.offset);
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(Vec::new()) };
        let (first, last) = (first.offset, last.offset);
        let cluster = cluster.as_ref().map(|cluster| format!("{cluster}/")).unwrap_or_default();
        let folder = format!("{cluster}{topic}/{partition}/");
        let columns = self.columns(dataset);
        let prefix = format!("{}{folder}", place.prefix);
        let mut landed = Vec::new();
        let mut after = format!("{prefix}{first:020}");
        loop {
            let keys = retrying(|| place.store.keys_after(&place.bucket, &prefix, &after)).await?;
            let Some(end) = keys.last() else { break };
            after = end.to_string();
            let found: Vec<Landed> = keys.into_iter().filter_map(Landed::of).collect();
            let passed = found.last().is_some_and(|found| found.first > last);
            landed.extend(found.into_iter().filter(|found| found.first <= last));
            if passed {
                break;
            }
        }
        records.retain(|record| !landed.iter().any(|found| (found.first..=found.last).contains(&record.offset)));
        // Some records between two new ones may have been landed before; then the new ones go into separate objects.
        let adjoin = |one: &&StreamRecord, other: &&StreamRecord| {
            !landed.iter().any(|found| one.offset < found.first && found.first < other.offset)
        };
        let mut new = Vec::new();
        for records in records.chunk_by(adjoin) {
            let (Some(first), Some(last)) = (records.first(), records.last()) else { continue };
            let (first, last) = (first.offset, last.offset);
            let key = place.key(&format!("{folder}{}", Landed::name(first, last, place.form)), dataset)?;
            let bytes = written(records, place.form, &columns)?;
            retrying(|| place.store.put(&place.bucket, key.as_str(), place.form.media_type(), &bytes)).await?;
            tracing::info!(%arrival, first, last, records = records.len(), "landed");
            new.push(Landed { first, last, key });
        }
        landed.extend(new);
        landed.sort_by_key(|found| found.first);
        Ok(landed.into_iter().map(|found| place.location(found.key)).collect())
    }
}

fn written(records: &[&StreamRecord], form: Form, columns: &[String]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    if form == Form::Csv {
        let mut header = ::csv::Writer::from_writer(&mut out);
        let written = header.write_record(columns).and_then(|()| Ok(header.flush()?));
        written.map_err(|error| Error::system("write a header", error))?;
        drop(header);
    }
    for record in records {
        let value = record.value.as_deref().unwrap_or_default();
        if form == Form::Csv {
            csv_record(value, columns.len(), &mut out);
        } else {
            json_line(value, &mut out);
        }
        out.push(b'\n');
    }
    Ok(out)
}

/// Writes a value as one line. In valid JSON a line end is white space, because strings cannot contain one. In anything
/// else it becomes a byte that JSON never allows, so that the value stays invalid.
fn json_line(value: &[u8], out: &mut Vec<u8>) {
    if out.is_empty() {
        // Otherwise the first record could look like the beginning of an archive or a byte order mark.
        out.push(b' ');
    }
    if value.trim_ascii().is_empty() {
        // A blank line would not count as a record.
        out.extend_from_slice(b"null");
        return;
    }
    let instead = if serde_json::from_slice::<IgnoredAny>(value).is_ok() { b' ' } else { VERTICAL_TAB };
    out.extend(value.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { instead } else { *byte }));
}

/// Writes a value as one record. A value that is not exactly one record becomes a record with too many fields: it is
/// rejected, and it cannot swallow the records after it.
fn csv_record(value: &[u8], width: usize, out: &mut Vec<u8>) {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    if is_one_record(value) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for byte in value {
        out.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
    }
    out.push(b'"');
    out.extend(std::iter::repeat_n(b',', width));
}

fn is_one_record(value: &[u8]) -> bool {
    let Ok(mut records) = Records::new(value) else { return false };
    let whole = matches!(records.next_record(), Ok(Some(record)) if record.raw == value);
    whole && matches!(records.next_record(), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landed(values: &[Option<&str>], form: Form) -> String {
        let record = |value: Option<&str>| StreamRecord { offset: 0, value: value.map(Into::into) };
        let records: Vec<StreamRecord> = values.iter().copied().map(record).collect();
        let columns = ["id", "note"].map(String::from);
        String::from_utf8(written(&records.iter().collect::<Vec<_>>(), form, &columns).unwrap()).unwrap()
    }

    #[test]
    fn each_record_of_json_is_one_line() {
        let values = [Some("{\r\n  \"id\": 1\n}"), None, Some(" \n"), Some("{\"a\":\"no\njson\"}")];
        let expected = " {    \"id\": 1 }\nnull\nnull\n{\"a\":\"no\u{b}json\"}\n";
        assert_eq!(landed(&values, Form::JsonLines), expected);
    }

    #[test]
    fn each_record_of_csv_is_one_record() {
        let values = ["1,a", "2,\"b\nc\"\r\n", "3,\"open", "4,a\n5,b", "", "\u{feff}6,a"].map(Some);
        let text = landed(&values, Form::Csv);
        assert_eq!(text, "id,note\n1,a\n2,\"b\nc\"\n\"3,\"\"open\",,\n\"4,a\n5,b\",,\n\"\",,\n\"\u{feff}6,a\",,\n");
        let mut records = Records::new(text.as_bytes()).unwrap();
        let mut widths = Vec::new();
        while let Some(record) = records.next_record().unwrap() {
            widths.push(record.len());
        }
        assert_eq!(widths, [2, 2, 2, 3, 3, 3, 3]);
    }

    #[test]
    fn offsets_are_read_from_a_key() {
        let landed = Landed::of(Landed::name(7, 12, Form::Csv).into());
        assert!(landed.is_none(), "a key has a folder");
        let landed = Landed::of(format!("a/{}", Landed::name(7, 12, Form::Csv)).into()).unwrap();
        assert_eq!((landed.first, landed.last), (7, 12));
    }
}
