//! What comes from elsewhere than S3, before it lies there.

use std::fmt;

use url::Url;

/// Something that cannot be asked for again as it is now, and so is landed in S3 before it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// What a server answers to a GET.
    Url(Url),
    /// Records of one partition of a stream.
    Records(RecordBatch),
}

/// Records of one partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    /// The id of the cluster, where the event tells one that stays.
    pub cluster: Option<String>,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The records, in the order in which they came.
    pub records: Vec<StreamRecord>,
}

/// One record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// Its place in the partition, from 0.
    pub offset: u64,
    /// Its bytes; none for a tombstone.
    pub value: Option<Vec<u8>>,
}

impl Arrival {
    /// Reads the URL of something to GET; none where the text has another form.
    #[must_use]
    pub fn from_url(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        matches!(url.scheme(), "http" | "https").then_some(Self::Url(url))
    }
}

/// For messages. The query of a URL may hold what is secret.
impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{}{}", url.origin().ascii_serialization(), url.path()),
            Self::Records(batch) => write!(f, "topic {} partition {}", batch.topic, batch.partition),
        }
    }
}
