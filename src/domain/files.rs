//! The patterns of the keys that belong to a dataset.

use std::collections::{BTreeMap, VecDeque};

use globset::{Glob, GlobBuilder, GlobSet};
use regex_automata::nfa::thompson::{Config, NFA, State};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;

/// The patterns of a dataset.
#[derive(Clone, Debug)]
pub(super) struct Files {
    patterns: Vec<Glob>,
    set: GlobSet,
}

impl Files {
    /// Whether there is no pattern.
    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Parses the patterns.
    ///
    /// # Errors
    /// A message that says what is wrong with the first invalid pattern.
    pub(super) fn read(patterns: &[String]) -> Result<Self, String> {
        let read = |pattern: &String| GlobBuilder::new(pattern).literal_separator(true).build();
        let patterns: Vec<Glob> =
            patterns.iter().map(read).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let set = GlobSet::new(patterns.iter()).map_err(|error| error.to_string())?;
        Ok(Self { patterns, set })
    }

    /// The patterns as they were written.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(Glob::glob)
    }

    /// Whether a pattern matches a key.
    pub(super) fn claim(&self, key: &str) -> bool {
        self.set.is_match(key)
    }

    /// Returns the beginnings of the keys: each pattern up to its first wildcard.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|pattern| literal_prefix(pattern.glob()))
    }

    /// Returns a key that both sets of patterns match, if there is one.
    pub(super) fn common_key(&self, others: &Self) -> Option<String> {
        let pairs = self.patterns.iter().flat_map(|one| others.patterns.iter().map(move |other| (one, other)));
        pairs.into_iter().find_map(|(one, other)| {
            let prefixes = (literal_prefix(one.glob()), literal_prefix(other.glob()));
            let meet = prefixes.0.starts_with(prefixes.1) || prefixes.1.starts_with(prefixes.0);
            if meet { common_word(&automaton(one)?, &automaton(other)?) } else { None }
        })
    }
}

fn literal_prefix(pattern: &str) -> &str {
    &pattern[..pattern.find(['*', '?', '[', '{', '\\']).unwrap_or(pattern.len())]
}

/// Returns the automaton of a pattern, interpreted as `globset` does; `None` if it is larger than the limit of
/// `globset`.
fn automaton(pattern: &Glob) -> Option<NFA> {
    const LARGEST: usize = 10 * 1024 * 1024;
    let syntax = syntax::Config::new().utf8(false).dot_matches_new_line(true);
    let config = Config::new().utf8(false).nfa_size_limit(Some(LARGEST));
    NFA::compiler().syntax(syntax).configure(config).build(pattern.regex()).ok()
}

/// Returns a shortest text that both automata accept, by walking through the pairs of their states. They match whole
/// texts only.
fn common_word(one: &NFA, other: &NFA) -> Option<String> {
    let start = (one.start_anchored(), other.start_anchored());
    let mut came_from: BTreeMap<_, Option<(_, Option<u8>)>> = BTreeMap::from([(start, None)]);
    let mut open = VecDeque::from([start]);
    while let Some(pair) = open.pop_front() {
        let (state, other_state) = (one.state(pair.0), other.state(pair.1));
        if let (State::Match { .. }, State::Match { .. }) = (state, other_state) {
            let steps = std::iter::successors(came_from[&pair], |(before, _)| came_from[before]);
            let mut word: Vec<u8> = steps.filter_map(|(_, byte)| byte).collect();
            word.reverse();
            return Some(String::from_utf8_lossy(&word).into_owned());
        }
        let mut next: Vec<((StateID, StateID), Option<u8>)> = match (silent(state), silent(other_state)) {
            (Some(next), _) => next.into_iter().map(|next| ((next, pair.1), None)).collect(),
            (None, Some(next)) => next.into_iter().map(|next| ((pair.0, next), None)).collect(),
            (None, None) => {
                let (steps, others) = (steps(state), steps(other_state));
                let both = steps.iter().flat_map(|step| others.iter().map(move |other| (step, other)));
                both.filter_map(|((from, to, next), (other_from, other_to, other_next))| {
                    let (from, to) = (*from.max(other_from), *to.min(other_to));
                    let byte = if (from..=to).contains(&b'x') { b'x' } else { from };
                    (from <= to).then_some(((*next, *other_next), Some(byte)))
                })
                .collect()
            }
        };
        // Where any byte is possible, a letter is the most readable.
        next.sort_by_key(|(_, byte)| byte.is_some_and(|byte| byte != b'x'));
        for (next, byte) in next {
            came_from.entry(next).or_insert_with(|| {
                open.push_back(next);
                Some((pair, byte))
            });
        }
    }
    None
}

/// Returns the states that follow this one without consuming a byte; `None` if it consumes one or ends. Patterns look
/// only for the beginning and the end of a key, where those conditions hold.
fn silent(state: &State) -> Option<Vec<StateID>> {
    match state {
        State::Look { next, .. } | State::Capture { next, .. } => Some(vec![*next]),
        State::Union { alternates } => Some(alternates.to_vec()),
        State::BinaryUnion { alt1, alt2 } => Some(vec![*alt1, *alt2]),
        State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) | State::Fail | State::Match { .. } => None,
    }
}

/// Returns the ranges of bytes that a state accepts, and the state that follows each.
fn steps(state: &State) -> Vec<(u8, u8, StateID)> {
    match state {
        State::ByteRange { trans } => vec![(trans.start, trans.end, trans.next)],
        State::Sparse(sparse) => sparse.transitions.iter().map(|step| (step.start, step.end, step.next)).collect(),
        State::Dense(dense) => {
            (0..=u8::MAX).zip(dense.transitions.iter()).map(|(byte, next)| (byte, byte, *next)).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(one: &str, other: &str) -> Option<String> {
        let files = |pattern: &str| Files::read(&[pattern.to_owned()]).unwrap();
        let (one, other) = (files(one), files(other));
        let key = one.common_key(&other);
        if let Some(key) = &key {
            assert!(one.claim(key) && other.claim(key), "{key}");
        }
        assert_eq!(key.is_some(), other.common_key(&one).is_some());
        key
    }

    #[test]
    fn two_patterns_have_a_key_in_common_or_not() {
        for (one, other, key) in [
            ("in/*", "in/*", Some("in/")),
            ("in/**", "in/trades/*.csv", Some("in/trades/.csv")),
            ("in/*.csv", "in/*.json", None),
            ("in/*.csv", "in/a/*.csv", None),
            ("in/{assets,trades}/*", "in/t*/?", Some("in/trades/x")),
            ("in/[a-c]*", "in/[c-e]*", Some("in/c")),
            ("in/[!a-c]?", "in/[c-e]?", Some("in/dx")),
            ("**/old/**", "new/**", Some("new/old/")),
            ("a/b", "a/b", Some("a/b")),
            ("a/b", "a/bc", None),
            (r"a/\*", "a/?", Some("a/*")),
            ("é/*", "é/x", Some("é/x")),
        ] {
            assert_eq!(common(one, other).as_deref(), key, "{one} and {other}");
        }
    }
}
