//! What the files of `src` import from each other: from which layers, and that there are no circles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::house::{code, sources};

/// The names that each module takes from each other module.
type Arrows = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// A path in the code.
struct Mention {
    segments: Vec<String>,
    /// The last segment, or the name after `as`.
    alias: String,
    /// Whether a `pub use` re-exports it.
    is_reexport: bool,
}

/// Returns the path of the module in a file.
fn module_of(path: &Path) -> String {
    let parts = path.with_extension("");
    let parts: Vec<&str> = parts.iter().skip(1).map(|part| part.to_str().unwrap()).collect();
    parts.join("::").trim_end_matches("::mod").to_owned()
}

/// Splits code into names, `::` and single other characters.
fn tokens(code: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut joined = false;
    for letter in code.chars() {
        let of_name = letter.is_alphanumeric() || letter == '_';
        match all.last_mut() {
            Some(last) if joined && of_name => last.push(letter),
            Some(last) if letter == ':' && last == ":" => last.push(letter),
            _ if letter.is_whitespace() => {}
            _ => all.push(letter.to_string()),
        }
        joined = of_name;
    }
    all
}

/// Reads the tree of a path from `tokens[at]`, and returns where it ends.
fn tree(tokens: &[String], mut at: usize, before: &[String], found: &mut Vec<(Vec<String>, String)>) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(at).map_or("", String::as_str) {
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = tree(tokens, at, &path, found);
                    at += usize::from(tokens[at] == ",");
                }
                return at + 1;
            }
            name => path.push(name.to_owned()),
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
    }
    let mut alias = path.last().cloned().unwrap_or_default();
    if tokens.get(at).is_some_and(|token| token == "as") {
        alias.clone_from(&tokens[at + 1]);
        at += 2;
    }
    if alias == "self" {
        path.pop();
        alias = path.last().cloned().unwrap_or_default();
    }
    found.push((path, alias));
    at
}

/// Returns the paths that code mentions which begin in this crate, or with one of `children`.
fn mentions(code: &str, children: &BTreeSet<&str>) -> Vec<Mention> {
    let tokens = tokens(code);
    let mut all = Vec::new();
    let (mut at, mut public) = (0, false);
    while at < tokens.len() {
        let token = tokens[at].as_str();
        let imported = token == "use";
        let begins = (["crate", "super", "self"].contains(&token) || children.contains(token))
            && tokens.get(at + 1).is_some_and(|next| next == "::")
            && (at == 0 || tokens[at - 1] != "::");
        if imported || begins {
            let mut found = Vec::new();
            let start = at + usize::from(imported);
            at = tree(&tokens, start, &[], &mut found);
            let of_crate = |path: &[String]| {
                ["crate", "super", "self"].contains(&path[0].as_str()) || children.contains(path[0].as_str())
            };
            let mention = |(segments, alias)| Mention { segments, alias, is_reexport: imported && public };
            all.extend(found.into_iter().filter(|(path, _)| of_crate(path)).map(mention));
            public = false;
            continue;
        }
        public = match token {
            "pub" => true,
            "(" | ")" | "crate" | "in" | "super" => public,
            _ => false,
        };
        at += 1;
    }
    all
}

/// The crate as its imports tie it together.
struct Crate {
    modules: BTreeSet<String>,
    mentions: BTreeMap<String, Vec<Mention>>,
}

impl Crate {
    fn new(files: &[(String, String)]) -> Self {
        let modules: BTreeSet<String> = files.iter().map(|(module, _)| module.clone()).collect();
        let mentioned = files.iter().map(|(module, text)| {
            let children: BTreeSet<&str> = modules
                .iter()
                .filter_map(|other| other.strip_prefix(&format!("{module}::")))
                .filter(|rest| !rest.contains("::"))
                .collect();
            (module.clone(), mentions(&code(text), &children))
        });
        let mentions = mentioned.collect();
        Self { modules, mentions }
    }

    /// Turns a path in `module` into one from the root of the crate.
    fn absolute(module: &str, segments: &[String]) -> Vec<String> {
        let mut path: Vec<String> = module.split("::").map(str::to_owned).collect();
        let mut rest = segments;
        match rest[0].as_str() {
            "crate" => {
                path.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            _ => {}
        }
        while rest.first().is_some_and(|name| name == "super") {
            path.pop();
            rest = &rest[1..];
        }
        path.extend(rest.iter().cloned());
        path
    }

    /// Finds the module in which the item at a path is defined, and the name of the item. Follows re-exports.
    fn target(&self, path: &[String]) -> Option<(String, String)> {
        let length = (1..=path.len()).rev().find(|length| self.modules.contains(&path[..*length].join("::")))?;
        let module = path[..length].join("::");
        let Some(name) = path.get(length) else { return Some((module, String::new())) };
        let reexport = self.mentions[&module].iter().find(|mention| mention.is_reexport && mention.alias == *name);
        match reexport.map(|reexport| Self::absolute(&module, &reexport.segments)) {
            Some(further) if further != path => self.target(&further),
            _ => Some((module, name.clone())),
        }
    }

    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (module, mentions) in &self.mentions {
            for mention in mentions.iter().filter(|mention| !mention.is_reexport) {
                match self.target(&Self::absolute(module, &mention.segments)) {
                    Some((other, name)) if other != *module => {
                        arrows.entry(module.clone()).or_default().entry(other).or_default().insert(name);
                    }
                    _ => {}
                }
            }
        }
        arrows
    }
}

/// Returns the modules that can be reached from one.
fn reached<'a>(arrows: &'a Arrows, from: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for next in arrows.get(module).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    found
}

/// Returns a line for each import that is part of a circle.
fn circles(files: &[(String, String)]) -> Vec<String> {
    let arrows = Crate::new(files).arrows();
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|module| (module.as_str(), reached(&arrows, module))).collect();
    let mut found = Vec::new();
    for (module, taken) in &arrows {
        for (other, names) in taken {
            if reached.get(other.as_str()).is_some_and(|reached| reached.contains(module.as_str())) {
                found.push(format!("{module} imports {names:?} from {other}"));
            }
        }
    }
    found
}

fn files() -> Vec<(String, String)> {
    sources("src").iter().map(|(path, text)| (module_of(path), text.clone())).collect()
}

#[test]
fn no_two_files_import_each_other_by_any_road() {
    assert_eq!(circles(&files()), Vec::<String>::new());
}

/// Each layer, and those that it may import. Every layer may import `error`.
const LAYERS: [(&str, &[&str]); 11] = [
    ("error", &[]),
    ("domain", &[]),
    ("data_access", &["domain"]),
    ("services", &["data_access", "domain"]),
    ("pipeline", &["services", "data_access", "domain"]),
    ("config", &["services", "data_access", "domain"]),
    ("event", &["services", "data_access", "domain"]),
    ("start", &["config", "pipeline", "services", "data_access", "domain"]),
    ("lambda", &["config", "start", "event", "pipeline", "services", "data_access", "domain"]),
    ("cli", &["config", "start", "event", "pipeline", "services", "data_access", "domain", "sample"]),
    ("sample", &[]),
];

/// Returns a line for each import from a layer that is not below.
fn climbing(files: &[(String, String)]) -> Vec<String> {
    let layer = |module: &str| module.split("::").next().unwrap().to_owned();
    let mut found = Vec::new();
    for (module, taken) in Crate::new(files).arrows() {
        let (from, below) = LAYERS
            .iter()
            .find(|(name, _)| *name == layer(&module))
            .unwrap_or_else(|| panic!("which layer is {module} in?"));
        for (other, names) in taken {
            let to = layer(&other);
            if to != *from && to != "error" && !below.contains(&to.as_str()) {
                found.push(format!("{module} imports {names:?} from {other}"));
            }
        }
    }
    found
}

#[test]
fn every_layer_imports_only_from_those_below() {
    assert_eq!(climbing(&files()), Vec::<String>::new());
}

/// The two tests above see every form of import.
#[test]
fn every_form_of_import_is_seen() {
    let file = |module: &str, text: &str| (module.to_owned(), text.to_owned());
    let doors = [
        file("services", "pub mod open;\npub use open::Opened;\npub use self::open::Sheet as Page;\n"),
        file("services::open", "pub struct Opened;\npub struct Sheet;\n"),
        file("domain", "pub fn of() {}\n"),
    ];
    let forms = [
        "use crate::services::open::Opened;",
        "use crate::services::{open, Opened as Other};",
        "use crate::{domain, services::open::{self, Sheet}};",
        "use super::super::services::open::Opened;",
        "pub(super) fn open() -> crate::services::open::Opened {}",
        "fn open() { let _ = super::super::services::Page; }",
    ];
    for form in forms {
        let mut files = doors.to_vec();
        files.push(file("data_access::s3", form));
        assert_eq!(climbing(&files).len(), 1, "{form}");
        files[1].1.push_str("use crate::data_access::s3::Store;\n");
        let found = circles(&files);
        assert_eq!(found.len(), 2, "{form}: {found:?}");
    }
    let unseen = [
        "// use crate::services::open::Opened;",
        "#[cfg(test)]\nmod tests {\n    use crate::services::open::Opened;\n}",
        "#[cfg(test)]\nuse crate::services::open::Opened;",
    ];
    for form in unseen {
        let mut files = doors.to_vec();
        files.push(file("data_access::s3", form));
        assert_eq!(climbing(&files), Vec::<String>::new(), "{form}");
    }
}
