//! A contract in the form of another standard becomes the definition of a dataset: a Table Schema of Frictionless Data, or an Open Data
//! Contract. What it does not say, and no program can know, is a question.

mod field;

use serde_json::Value;

use super::answers::{About, Answers};
use super::names;
use super::question::{Asked, Question};
use super::toml_text;
use field::{Field, read_field};

/// What a contract says of a dataset.
#[derive(Clone, Debug)]
pub struct FromContract {
    /// The name of the dataset.
    pub name: String,
    /// The questions, with the answers that were given.
    pub asked: Vec<Asked>,
    /// The columns: name, type, and what the contract calls them.
    pub columns: Vec<(String, String, String)>,
    lines: Vec<String>,
}

impl FromContract {
    /// The text of the definition. As long as a question is open it lists it, and is not read.
    #[must_use]
    pub fn definition(&self) -> String {
        let open: Vec<&str> =
            self.asked.iter().filter(|asked| asked.is_open()).map(|asked| asked.question.id.as_str()).collect();
        let mut text = String::from("# Made by `small-etl guess --from`. Change what you know better.\n");
        if !open.is_empty() {
            text.push_str("# These questions are open. Answer them with --answer ID=VALUE, or write what is missing and delete this list.\n");
            text += &["open_questions = ", &toml_text::list(&open), "\n"].concat();
        }
        text + &self.provisional()
    }

    /// The definition with something in the place of each open answer.
    #[must_use]
    pub fn provisional(&self) -> String {
        self.lines.join("\n") + "\n"
    }
}

/// The fields of a contract and what it says of all of them, whatever its standard.
pub(super) struct Contract<'c> {
    fields: Vec<&'c Value>,
    is_odcs: bool,
    key: Vec<String>,
    nulls: Option<Vec<String>>,
    version: Option<&'c str>,
    title: Option<&'c str>,
}

/// Reads a contract.
///
/// # Errors
/// A message if it is of no standard that is known, or cannot be the definition of a dataset.
pub fn read(contract: &Value, name: &str, answers: &Answers) -> Result<FromContract, String> {
    let contract = Contract::of(contract)?;
    let mut asked = Vec::new();
    let wanted: Vec<Option<String>> = contract.fields.iter().map(|field| name_of(field, answers)).collect();
    let names = names::unique(&wanted);
    let mut fields = Vec::new();
    for (field, name) in contract.fields.iter().zip(&names) {
        fields.push(read_field(field, name, contract.is_odcs, answers, &mut asked)?);
    }
    let key = key(&contract, &fields, answers, &mut asked)?;
    for field in &mut fields {
        field.required |= key.as_ref().is_some_and(|key| key.contains(&field.name));
    }
    let version = version(&contract, &fields);
    let lines = lines(name, &contract, &fields, key.as_deref(), version.as_deref());
    let columns = fields.iter().map(|field| (field.name.clone(), field.kind_name(), field.header.clone())).collect();
    Ok(FromContract { name: name.to_owned(), asked, columns, lines })
}

impl<'c> Contract<'c> {
    fn of(contract: &'c Value) -> Result<Self, String> {
        if contract["kind"] == "DataContract" || contract.get("apiVersion").is_some() {
            return Self::open_data_contract(contract);
        }
        let resource = match contract["resources"].as_array().map(Vec::as_slice) {
            None => contract,
            Some([one]) => one,
            Some(several) => {
                return Err(format!("the package has {} resources; give the schema of one of them", several.len()));
            }
        };
        let schema = resource.get("schema").unwrap_or(resource);
        let Some(fields) = schema["fields"].as_array() else {
            return Err("it is neither a Table Schema (with \"fields\") nor an Open Data Contract (with \"kind: DataContract\")".into());
        };
        Ok(Self {
            fields: fields.iter().collect(),
            is_odcs: false,
            key: texts(&schema["primaryKey"]),
            nulls: schema.get("missingValues").map(texts),
            version: schema["version"].as_str(),
            title: schema["title"].as_str().or_else(|| resource["title"].as_str()),
        })
    }

    fn open_data_contract(contract: &'c Value) -> Result<Self, String> {
        let table = match contract["schema"].as_array().map(Vec::as_slice) {
            Some([one]) => one,
            other => {
                let count = other.map_or(0, <[Value]>::len);
                return Err(format!("the contract has {count} schemas; give one with a single table"));
            }
        };
        let fields: Vec<&Value> = table["properties"].as_array().into_iter().flatten().collect();
        let place = |field: &&&Value| field["primaryKeyPosition"].as_i64().unwrap_or(i64::MAX);
        let mut key: Vec<&&Value> = fields.iter().filter(|field| field["primaryKey"] == true).collect();
        key.sort_by_key(|field| place(field));
        let custom = |name: &str| {
            let all = table["customProperties"].as_array().into_iter().flatten();
            all.into_iter().find(|custom| custom["property"] == name).map(|custom| &custom["value"])
        };
        Ok(Self {
            key: key.iter().filter_map(|field| field["name"].as_str()).map(str::to_owned).collect(),
            nulls: custom("nullValues").map(texts),
            version: custom("version").and_then(Value::as_str),
            title: contract["name"].as_str(),
            is_odcs: true,
            fields,
        })
    }
}

/// A text, or a list of texts.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        // A missing value may also have a label.
        Value::Array(all) => {
            all.iter().filter_map(|one| one.as_str().or_else(|| one["value"].as_str())).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

fn name_of(field: &Value, answers: &Answers) -> Option<String> {
    let header = field["name"].as_str()?;
    let about = About { header: Some(header), ..About::default() };
    let chosen = answers.get("name", about).filter(|name| names::is_legal(name)).map(str::to_owned);
    let physical = field["physicalName"].as_str().filter(|name| names::is_legal(name)).map(str::to_owned);
    let own = Some(header.to_owned()).filter(|name| names::is_legal(name));
    chosen.or(physical).or(own).or_else(|| names::plain(header))
}

/// The columns of the key; `None` if the content of a row is its key.
fn key(
    contract: &Contract<'_>,
    fields: &[Field],
    answers: &Answers,
    asked: &mut Vec<Asked>,
) -> Result<Option<Vec<String>>, String> {
    let named = |name: &str| {
        fields.iter().find(|field| field.header == name || field.name == name).map(|field| field.name.clone())
    };
    if !contract.key.is_empty() {
        let all = contract
            .key
            .iter()
            .map(|name| named(name).ok_or_else(|| format!("the primary key names {name:?}, which is no field")));
        return all.collect::<Result<Vec<_>, _>>().map(Some);
    }
    if let Some(unique) = fields.iter().find(|field| field.is_unique && field.required) {
        return Ok(Some(vec![unique.name.clone()]));
    }
    let required = fields.iter().filter(|field| field.required).map(|field| field.name.clone());
    let question = Question {
        id: "key".into(),
        why: "the contract has no primary key and no field that is required and unique".into(),
        values: Vec::new(),
        answers: required.chain(["content".into()]).collect(),
    };
    let understood = |answer: &str| {
        let columns: Option<Vec<String>> = answer.split(',').map(|name| named(name.trim())).collect();
        if answer == "content" { Some(answer.to_owned()) } else { columns.map(|columns| columns.join(",")) }
    };
    let answer = answers.ask("key", About::default(), question, understood);
    let key = answer
        .answer
        .clone()
        .filter(|answer| answer != "content")
        .map(|names| names.split(',').map(str::to_owned).collect());
    asked.push(answer);
    Ok(key)
}

fn version(contract: &Contract<'_>, fields: &[Field]) -> Option<String> {
    let named =
        contract.version.and_then(|name| fields.iter().find(|field| field.name == name || field.header == name));
    named.filter(|field| field.required && field.orders_rows()).map(|field| field.name.clone())
}

fn lines(
    name: &str,
    contract: &Contract<'_>,
    fields: &[Field],
    key: Option<&[String]>,
    version: Option<&str>,
) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(contract.title.map(|title| format!("# {}", toml_text::in_comment(title))));
    lines.push(format!("name = {}\ntable = {}", toml_text::text(name), toml_text::text(name)));
    lines.push(format!("key = {}", key.map_or_else(|| toml_text::text("content"), toml_text::one_or_list)));
    lines.push(format!("version = {}", toml_text::text(version.unwrap_or("arrival"))));
    let is_plain = fields.iter().all(Field::is_plain);
    let files = toml_text::list(&[format!("incoming/{name}/**")]);
    lines.push(format!("files = {}", if is_plain { &files } else { "[]" }));
    lines.extend(contract.nulls.as_ref().map(|nulls| format!("null_values = {}", toml_text::list(nulls))));
    for field in fields {
        lines.push(String::new());
        lines.extend(field.column());
    }
    if !is_plain {
        lines.push(format!("\n[[source]]\nname = {}\nfiles = {files}", toml_text::text(name)));
        for field in fields.iter().filter(|field| !field.is_plain()) {
            lines.push(String::new());
            lines.extend(field.source());
        }
    }
    lines
}
