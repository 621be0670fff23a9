//! Lands what is not in S3, with the pipeline that takes it.

use tracing::Instrument;

use super::Context;
use crate::domain::{Arrival, Location};
use crate::error::{Error, ErrorKind, Result};
use crate::services::Deadline;

/// What was landed and can be loaded now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// The dataset.
    pub dataset: String,
    /// Where it is.
    pub locations: Vec<Location>,
}

/// Lands an arrival for the named dataset, or else for the only one that takes it.
///
/// # Errors
/// `Configuration` if no dataset takes it, or if several do; the errors of
/// [`Lander::land`](crate::services::Lander::land).
pub async fn land(context: &Context, arrival: &Arrival, dataset: Option<&str>, deadline: &Deadline) -> Result<Landed> {
    if let Some(name) = dataset {
        context.pipeline(name)?;
    }
    let wanted = context.pipelines.iter().filter(|(name, _)| dataset.is_none_or(|dataset| dataset == *name));
    let mut takers = wanted.filter_map(|(name, pipeline)| Some((name, pipeline.lander(arrival)?)));
    let Some((name, lander)) = takers.next() else {
        return Err(Error::configuration(format!(
            "{arrival}: no pipeline takes it; name its origin or topic in an extractor http or kafka \
             (pipeline.DATASET.extractor)"
        )));
    };
    if let Some((other, _)) = takers.next() {
        return Err(Error::configuration(format!("{arrival}: {name} and {other} take it; name the dataset")));
    }
    let definition = context.datasets.get(name).map_err(Error::configuration)?;
    let span = tracing::info_span!("land", dataset = name);
    let locations = tokio::select! {
        locations = lander.land(arrival, definition).instrument(span) => locations?,
        () = deadline.passed() => {
            let message = if deadline.is_interrupted() {
                format!("{arrival}: stopped before it is landed")
            } else {
                format!("{arrival}: the time is over before it is landed; give the function more time")
            };
            return Err(Error::new(ErrorKind::OutOfTime, message));
        }
    };
    Ok(Landed { dataset: name.clone(), locations })
}
