//! Turns every event shape that may start a load into requests, and requests into messages of a queue.
//!
//! The fields that tell the shapes apart are looked at first, and the event is parsed afterwards. Trying one type after
//! another would give no useful error when all of them fail.

use std::collections::BTreeMap;
use std::ops::Not;

use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use aws_lambda_events::event::s3::{S3Event, S3EventRecord};
use aws_lambda_events::event::sqs::SqsEvent;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::{Arrival, Location, ObjectKey, RecordBatch, Sequencer, StreamRecord};
use crate::error::{Error, ErrorKind, Result};
use crate::services::reconciliation::Scope;

/// What an event asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Files to load; the answer holds a report of each.
    Files(Vec<Asked>),
    /// A file to check without loading it.
    Validate {
        /// Where the file is.
        location: Location,
        /// The dataset, if the event names one.
        dataset: Option<String>,
    },
    /// The nightly run, or a part of it.
    Reconcile(Scope),
    /// Messages of a queue; the answer holds the ids of those to deliver again.
    Queue(Vec<Message>),
}

/// One file to load, or the reason why there is nothing to load.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Load this file.
    Load {
        /// Where the file is.
        location: Location,
        /// The dataset, if the event names one.
        dataset: Option<String>,
        /// Whether to load a finished version once more.
        again: bool,
        /// The parts of the object that are to be loaded; all of them if this is empty.
        parts: Vec<String>,
    },
    /// Land this first, then load what was landed.
    Land {
        /// What to land.
        arrival: Arrival,
        /// The dataset, if the event names one.
        dataset: Option<String>,
    },
    /// Nothing to load.
    Skip(&'static str),
}

/// A message of a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The message id.
    pub id: String,
    /// The handle by which the queue knows this delivery.
    pub receipt_handle: Option<String>,
    /// How often the message was delivered, including this time.
    pub deliveries: u32,
    /// What the message asks for, or why it cannot be read.
    pub asked: Result<Vec<Asked>, String>,
}

const SHAPES: &str = "the known shapes are: an S3 notification {\"Records\": [{\"eventSource\": \"aws:s3\", …}]}, an EventBridge event \
    {\"detail-type\": \"Object Created\", …}, either of them in SQS {\"Records\": [{\"eventSource\": \"aws:sqs\", …}]}, \
    s3:TestEvent, a schedule {\"detail-type\": \"Scheduled Event\", \"detail\": {\"bucket\": …, \"key\": …}}, \
    {\"bucket\": …, \"key\": …}, to which \"version_id\", \"dataset\", \"parts\": […], \"again\": true and \"validate_only\": true may be \
    added, \
    {\"url\": …}, to which \"dataset\" may be added, and {\"reconcile\": {}} or {\"reconcile\": {\"bucket\": …, \"prefix\": …}}; the last \
    three alone or as the detail of a schedule; and records of Kafka {\"eventSource\": \"aws:kafka\" or \"SelfManagedKafka\", \"records\": {…}}";

/// Reads an event of any known shape.
///
/// # Errors
/// `Configuration`, listing the known shapes.
pub fn parse(event: Value) -> Result<Event> {
    if let Some(wanted) = event.get("reconcile").or_else(|| event.pointer("/detail/reconcile")) {
        let Part { bucket, prefix } = Part::deserialize(wanted).map_err(|error| {
            let form =
                "the nightly run takes {\"reconcile\": {\"bucket\": …, \"prefix\": …}}, where both may be missing";
            Error::with_source(ErrorKind::Configuration, form, error)
        })?;
        return Ok(Event::Reconcile(Scope { bucket, prefix }));
    }
    let scheduled = event.get("detail-type").and_then(Value::as_str) == Some("Scheduled Event");
    let wanted = if scheduled { event.get("detail").unwrap_or(&event) } else { &event };
    if wanted.get("validate_only") == Some(&Value::Bool(true)) {
        let direct = read_direct(wanted.clone())?;
        if direct.again {
            return Err(Error::configuration(
                "\"validate_only\" and \"again\" cannot be combined: one loads nothing, the other loads again; leave one of them out",
            ));
        }
        return Ok(Event::Validate { dataset: direct.dataset.clone(), location: direct.into_location(Sender::Anyone) });
    }
    let source = event.pointer("/Records/0/eventSource").and_then(Value::as_str);
    if source != Some("aws:sqs") {
        return files(event, Sender::Anyone).map(Event::Files);
    }
    let queue: SqsEvent = serde_json::from_value(event).map_err(|error| unreadable("the SQS event", error))?;
    let messages = queue.records.into_iter().map(|message| Message {
        id: message.message_id.unwrap_or_default(),
        receipt_handle: message.receipt_handle,
        deliveries: message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1),
        asked: asked_for(message.body.as_deref().unwrap_or_default()).map_err(|error| error.chain()),
    });
    Ok(Event::Queue(messages.collect()))
}

/// Where a request comes from.
#[derive(Clone, Copy, PartialEq)]
enum Sender {
    /// A queue, into which this program puts ranks.
    Queue,
    /// A direct call of the function, or a schedule.
    Anyone,
}

fn files(event: Value, sender: Sender) -> Result<Vec<Asked>> {
    if event.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Ok(vec![Asked::Skip("s3:TestEvent carries no file")]);
    }
    if event.pointer("/Records/0/eventSource").and_then(Value::as_str) == Some("aws:s3") {
        let event: S3Event = serde_json::from_value(event).map_err(|error| unreadable("the S3 notification", error))?;
        return event.records.into_iter().map(notified).collect();
    }
    if let Some("aws:kafka" | "SelfManagedKafka") = event.get("eventSource").and_then(Value::as_str) {
        let event: StreamEvent = serde_json::from_value(event).map_err(|error| unreadable("the Kafka event", error))?;
        return event.batches();
    }
    match event.get("detail-type").and_then(Value::as_str) {
        Some("Object Created") => {
            let event: EventBridgeEvent<ObjectCreated> =
                serde_json::from_value(event).map_err(|error| unreadable("the EventBridge event", error))?;
            let ObjectCreated { bucket, object } = event.detail;
            return Ok(vec![Asked::Load {
                location: Location::S3 {
                    bucket: bucket.name,
                    key: object.key.into(),
                    version_id: object.version_id,
                    etag: object.etag,
                    size: object.size,
                    sequencer: object.sequencer.and_then(Sequencer::of_event),
                    modified: event.time.and_then(in_seconds),
                },
                dataset: None,
                again: false,
                parts: Vec::new(),
            }]);
        }
        Some(kind) if kind.starts_with("Object ") && event.get("source").and_then(Value::as_str) == Some("aws.s3") => {
            return Ok(vec![Asked::Skip("the event does not report a new object")]);
        }
        Some("Scheduled Event") => {
            let detail = event.get("detail").cloned().unwrap_or_default();
            return direct(detail, sender).map(|asked| vec![asked]);
        }
        _ => {}
    }
    if let Some(message) = event.get(LARGE_FILE).and_then(Value::as_str) {
        return asked_for(message);
    }
    if ["bucket", "key", "url"].iter().any(|name| event.get(name).is_some()) {
        return direct(event, sender).map(|asked| vec![asked]);
    }
    Err(Error::configuration(format!("the event has none of the known shapes; {SHAPES}")))
}

/// The member under which a message for a larger machine is wrapped.
const LARGE_FILE: &str = "large_file";

/// Wraps a message for a machine that takes larger files. What starts that machine picks one member, which must be a text, and gives it
/// to `small-etl load --message`.
#[must_use]
pub fn for_a_larger_machine(message: &Value) -> Value {
    json!({ LARGE_FILE: message.to_string() })
}

/// Reads a message of a queue.
///
/// # Errors
/// `Configuration` if it is not JSON, or of no known shape.
pub fn asked_for(message: &str) -> Result<Vec<Asked>> {
    serde_json::from_str(message)
        .map_err(|error| unreadable("the message", error))
        .and_then(|event| files(event, Sender::Queue))
}

fn unreadable(what: &str, error: serde_json::Error) -> Error {
    Error::with_source(ErrorKind::Configuration, format!("{what} cannot be read"), error)
}

/// Reads one record of a notification. Its key is URL-encoded as in a form; the crate has a field for the decoded key,
/// but never fills it.
fn notified(record: S3EventRecord) -> Result<Asked> {
    if !record.event_name.as_deref().unwrap_or_default().starts_with("ObjectCreated:") {
        return Ok(Asked::Skip("the notification does not report a new object"));
    }
    let (bucket, object) = (record.s3.bucket.name, record.s3.object);
    let (Some(bucket), Some(key)) = (bucket, object.key) else {
        return Err(Error::configuration("the S3 notification names no bucket or no key"));
    };
    let key = ObjectKey::from_form(&key).map_err(|error| {
        Error::with_source(ErrorKind::Configuration, "the key in the S3 notification is not UTF-8", error)
    })?;
    Ok(Asked::Load {
        location: Location::S3 {
            bucket,
            key,
            version_id: object.version_id,
            etag: object.e_tag,
            size: object.size.and_then(|size| u64::try_from(size).ok()),
            sequencer: object.sequencer.and_then(Sequencer::of_event),
            modified: in_seconds(record.event_time),
        },
        dataset: None,
        again: false,
        parts: Vec::new(),
    })
}

/// How far the clocks of two machines may differ.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(5);

/// The options of the nightly run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    bucket: Option<String>,
    prefix: Option<String>,
}

/// The `detail` of an `Object Created` event. Its key is not encoded.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ObjectCreated {
    bucket: CreatedIn,
    object: CreatedObject,
}

#[derive(Deserialize, Serialize)]
struct CreatedIn {
    name: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct CreatedObject {
    key: String,
    size: Option<u64>,
    etag: Option<String>,
    version_id: Option<String>,
    sequencer: Option<String>,
}

/// Returns the time of an event in whole seconds, as S3 reports when an object was written.
fn in_seconds(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    time.with_nanosecond(0)
}

/// A direct request. The rest of a load is requested in the same form.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Direct {
    bucket: String,
    key: String,
    version_id: Option<String>,
    etag: Option<String>,
    size: Option<u64>,
    /// The rank of a version in a listing. S3's own sequencers are accepted only in S3's own events.
    sequencer: Option<String>,
    modified: Option<DateTime<Utc>>,
    dataset: Option<String>,
    #[serde(default, skip_serializing_if = "Not::not")]
    again: bool,
    /// Of an object with several parts these alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<String>,
    #[serde(default, skip_serializing)]
    validate_only: bool,
}

fn read_direct(event: Value) -> Result<Direct> {
    serde_json::from_value(event).map_err(|error| {
        Error::with_source(
            ErrorKind::Configuration,
            "a direct request takes {\"bucket\": …, \"key\": …, \"version_id\": …, \"dataset\": …, \"again\": true, \
             \"parts\": […], \"validate_only\": true}; all but the first two may be missing",
            error,
        )
    })
}

impl Direct {
    /// Converts the request. What orders the versions of an object is taken from messages of a queue, and dropped if it lies in the future: no
    /// listing can have given it, and it would win over everything written until then.
    fn into_location(self, sender: Sender) -> Location {
        let Self { bucket, key, version_id, etag, size, sequencer, modified, .. } = self;
        let now = Utc::now() + CLOCKS_DIFFER;
        let is_past = |time: DateTime<Utc>| sender == Sender::Queue && time <= now;
        let sequencer = sequencer.as_deref().and_then(Sequencer::parse);
        let sequencer = sequencer.filter(|rank| matches!(rank, Sequencer::InListing { began, .. } if is_past(*began)));
        let modified = modified.filter(|time| is_past(*time));
        Location::S3 { bucket, key: key.into(), version_id, etag, size, sequencer, modified }
    }
}

/// A request to fetch a URL and load what it returns.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fetch {
    url: String,
    dataset: Option<String>,
}

/// Records that an event source mapping delivers. Only the fields that are needed are read, so that nothing else can
/// make the event invalid.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StreamEvent {
    /// The ARN of an MSK cluster. Its last part is an id that no other cluster has.
    event_source_arn: Option<String>,
    records: BTreeMap<String, Vec<EventRecord>>,
}

#[derive(Deserialize)]
struct EventRecord {
    topic: String,
    partition: u32,
    offset: u64,
    value: Option<String>,
}

impl StreamEvent {
    fn batches(self) -> Result<Vec<Asked>> {
        let mut batches: BTreeMap<(String, u32), Vec<StreamRecord>> = BTreeMap::new();
        for EventRecord { topic, partition, offset, value } in self.records.into_values().flatten() {
            let value = value.map(|value| BASE64_STANDARD.decode(value)).transpose().map_err(|error| {
                let record = format!("the record {offset} of topic {topic} partition {partition} is not base64");
                Error::with_source(ErrorKind::Configuration, record, error)
            })?;
            batches.entry((topic, partition)).or_default().push(StreamRecord { offset, value });
        }
        let cluster = self.event_source_arn.and_then(|arn| arn.rsplit_once('/').map(|(_, id)| id.to_owned()));
        let batches = batches.into_iter().map(|((topic, partition), records)| {
            let batch = RecordBatch { cluster: cluster.clone(), topic, partition, records };
            Asked::Land { arrival: Arrival::Records(batch), dataset: None }
        });
        Ok(batches.collect())
    }
}

fn direct(event: Value, sender: Sender) -> Result<Asked> {
    if event.get("url").is_some() {
        let Fetch { url, dataset } = serde_json::from_value(event).map_err(|error| {
            let form = "a request to fetch takes {\"url\": …, \"dataset\": …}; the second may be missing";
            Error::with_source(ErrorKind::Configuration, form, error)
        })?;
        let arrival = Arrival::from_url(&url)
            .ok_or_else(|| Error::configuration("the url is not of the form https://HOST/PATH"))?;
        return Ok(Asked::Land { arrival, dataset });
    }
    let direct = read_direct(event)?;
    if direct.validate_only {
        return Err(Error::configuration(
            "validate_only works in a direct call alone: nobody reads the answer to a message",
        ));
    }
    let (dataset, again, parts) = (direct.dataset.clone(), direct.again, direct.parts.clone());
    Ok(Asked::Load { location: direct.into_location(sender), dataset, again, parts })
}

/// Returns the request for exactly this version and these parts of it; `None` for a file on this machine. With `again`,
/// parts that are finished are loaded again. What S3 has reported about the version is passed on unchanged.
#[must_use]
pub fn request_for(location: &Location, dataset: Option<&str>, again: bool, parts: &[String]) -> Option<Value> {
    let Location::S3 { bucket, key, version_id, etag, size, sequencer, modified } = location.clone() else {
        return None;
    };
    let (key, is_of_event) = (key.to_string(), matches!(sequencer, Some(Sequencer::OfEvent(_))));
    let sequencer = sequencer.as_ref().map(Sequencer::to_string);
    if is_of_event && dataset.is_none() && !again && parts.is_empty() {
        let object = CreatedObject { key, size, etag, version_id, sequencer };
        let detail = serde_json::to_value(ObjectCreated { bucket: CreatedIn { name: bucket }, object }).ok()?;
        // The time of the event is when the object was written.
        return Some(
            json!({ "detail-type": "Object Created", "source": "aws.s3", "time": modified, "detail": detail }),
        );
    }
    let (dataset, sequencer, validate_only) = (dataset.map(String::from), sequencer.filter(|_| !is_of_event), false);
    let parts = parts.to_vec();
    let direct =
        Direct { bucket, key, version_id, etag, size, sequencer, modified, dataset, again, parts, validate_only };
    serde_json::to_value(direct).ok()
}

#[cfg(test)]
mod tests;
