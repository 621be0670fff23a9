//! Data that arrives from elsewhere than S3, before it is there.

use std::fmt;

use url::Url;

/// Something that cannot be requested again in its present state. It is landed in S3 before it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The URL of something to GET.
    Url(Url),
    /// Records of one partition of a stream.
    Records(RecordBatch),
}

/// Records of one partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    /// The id of the cluster, if the event names one that does not change.
    pub cluster: Option<String>,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The records, in the order in which they arrived.
    pub records: Vec<StreamRecord>,
}

/// One record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// The offset of the record in the partition, from 0.
    pub offset: u64,
    /// The bytes of the record; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
}

impl Arrival {
    /// Reads the URL of something to GET; `None` if the text is not such a URL.
    #[must_use]
    pub fn from_url(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        matches!(url.scheme(), "http" | "https").then_some(Self::Url(url))
    }
}

/// The form for messages. It leaves out the query of a URL, which may contain secrets.
impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{}{}", url.origin().ascii_serialization(), url.path()),
            Self::Records(batch) => write!(f, "topic {} partition {}", batch.topic, batch.partition),
        }
    }
}
