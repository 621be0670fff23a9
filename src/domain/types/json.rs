//! `json`: any JSON text, stored as `jsonb` stores it.
//!
//! Source: <https://www.rfc-editor.org/rfc/rfc8259>, and for the form of the result `JsonbToCString` and
//! `lengthCompareJsonbString` in `src/backend/utils/adt/jsonb*.c` of Postgres.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::datatypes::DataType;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::source::kind::Kind;
use super::super::violation::quoted;
use super::contract::{ColumnType, Registration, Samples, Type};
use super::table::{Fit, TableColumn};
use super::text::is_text;

pub(super) const TYPE: Registration = Registration {
    name: "json",
    about: "A JSON value.",
    options: &[],
    make: |_| Ok(ColumnType::of(Json)),
    samples: &[SAMPLES],
};

const SAMPLES: Samples = Samples {
    options: "",
    column: "jsonb",
    values: &[
        (r#"{"b":1,"a":[true,false,null],"aa":{}}"#, r#"{"a": [true, false, null], "b": 1, "aa": {}}"#),
        ("[1.50,1e3,-1.5E-2,-0,-0.0]", "[1.50, 1000, -0.015, 0, 0.0]"),
        ("\"a\\\"\\u00e9\\n\\/\"", "\"a\\\"é\\n/\""),
        ("12345678901234567890.123456789012345678901234567890", "12345678901234567890.123456789012345678901234567890"),
        (" [ ] ", "[]"),
        ("true", "true"),
    ],
    others: &[
        "{\"a\":1,\"a\":2}",
        "\"\\u0000\"",
        "{\"\\u0000\":1}",
        "\"\\ud800\"",
        "{a:1}",
        "[1,]",
        "[1] 2",
        "01",
        "NaN",
        "1e999999",
        "1e-16384",
        "'a'",
    ],
};

/// The deepest nesting that is read. Each level is scanned once for every level above it.
const MOST_LEVELS: usize = 128;
/// The most bytes of a value as Postgres prints it. The internal form of a longer one could exceed what Postgres can
/// store.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// The digits that a `numeric` may have before and after the point.
const MOST_WHOLE: i64 = 131_072;
const MOST_DECIMALS: i64 = 16_383;
/// A number with an exponent is written out up to this many bytes. Longer numbers would use far more memory than the
/// file.
const LONGEST_WRITTEN_OUT: usize = 40;
/// The first byte of the binary form of `jsonb`.
const FORMAT: u8 = 1;

#[derive(Debug)]
struct Json;

impl Type for Json {
    fn name(&self) -> String {
        self.rule().to_owned()
    }

    fn rule(&self) -> &'static str {
        "json"
    }

    fn read(&self, cells: &StringArray) -> ArrayRef {
        Arc::new(cells.iter().map(|cell| canonical(cell?).ok()).collect::<StringArray>())
    }

    fn print(&self, values: &dyn Array) -> StringArray {
        values.as_string().clone()
    }

    fn explain(&self, cell: &str) -> String {
        let shown = quoted(cell);
        match canonical(cell).err() {
            None | Some(Not::Json) => format!("{shown} is not JSON"),
            Some(Not::Null) => format!("{shown} is the null of JSON; leave the cell empty, or add null to null_values"),
            Some(Not::Unique(member)) => format!("{shown} has the member {} twice; keep one", quoted(&member)),
            Some(Not::Text) => {
                format!("{shown} has a text with \\u0000 or half of a surrogate pair, which the table cannot hold")
            }
            Some(Not::Number(number)) => {
                format!("{shown} has a number with too many digits for the table: {}", quoted(&number))
            }
            Some(Not::Deep) => format!("{shown} is nested more than {MOST_LEVELS} deep"),
            Some(Not::Short) => format!("{shown} has more than {} MB, its numbers written out", MOST_BYTES >> 20),
        }
    }

    fn arrow_type(&self) -> DataType {
        DataType::Utf8
    }

    fn stage_type(&self) -> String {
        "varchar".into()
    }

    fn table_type(&self) -> &'static str {
        "jsonb"
    }

    fn fit(&self, column: &TableColumn<'_>, _: Option<u32>) -> Fit {
        Fit::same(column.kind == "jsonb")
    }

    fn needed(&self, _: Option<u32>) -> String {
        "jsonb".into()
    }

    fn encode(&self, values: &dyn Array) -> BinaryArray {
        values.as_string::<i32>().iter().map(|text| Some([&[FORMAT], text?.as_bytes()].concat())).collect()
    }

    fn takes(&self, has: &DataType) -> bool {
        is_text(has)
    }

    fn taken(&self) -> &'static str {
        "JSON or a string"
    }

    fn not_a_key(&self) -> Option<&'static str> {
        Some("an index cannot hold long ones")
    }

    fn can_be_compared(&self) -> bool {
        false
    }

    fn family(&self) -> Kind {
        Kind::Json
    }

    fn is_json(&self) -> bool {
        true
    }
}

/// Why a text is not a value.
enum Not {
    Json,
    /// The null of JSON. A parked row could not tell it from a null of SQL.
    Null,
    /// This member comes twice. `jsonb` would silently keep the last one.
    Unique(String),
    Text,
    Number(String),
    Deep,
    Short,
}

/// Prints a text as `jsonb` does, except that numbers with large exponents keep the exponent.
fn canonical(text: &str) -> Result<String, Not> {
    let value: &RawValue = serde_json::from_str(text).map_err(|_| Not::Json)?;
    let mut printed = Printed { text: String::with_capacity(text.len()), written_out: 0 };
    match value.get() {
        "null" => Err(Not::Null),
        value => {
            printed.value(value, MOST_LEVELS)?;
            Ok(printed.text)
        }
    }
}

struct Printed {
    text: String,
    /// How many bytes longer the numbers would be if they were written out.
    written_out: usize,
}

impl Printed {
    fn value(&mut self, value: &str, levels: usize) -> Result<(), Not> {
        let below = || levels.checked_sub(1).ok_or(Not::Deep);
        match value.as_bytes().first() {
            Some(b'{') => self.object(value, below()?)?,
            Some(b'[') => self.array(value, below()?)?,
            Some(b'"') => self.string(&serde_json::from_str::<String>(value).map_err(|_| Not::Text)?)?,
            Some(b't' | b'f' | b'n') => self.text.push_str(value),
            _ => self.number(value).ok_or_else(|| Not::Number(value.to_owned()))?,
        }
        if self.text.len() + self.written_out > MOST_BYTES { Err(Not::Short) } else { Ok(()) }
    }

    fn object(&mut self, value: &str, levels: usize) -> Result<(), Not> {
        // Only the text of a name can be wrong: the rest has been checked.
        let Members(mut members) = serde_json::from_str(value).map_err(|_| Not::Text)?;
        // The order in which `jsonb` stores members.
        members.sort_by(|(one, _), (other, _)| (one.len(), one).cmp(&(other.len(), other)));
        if let Some(twice) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Not::Unique(twice[0].0.clone()));
        }
        self.text.push('{');
        for (nth, (name, value)) in members.into_iter().enumerate() {
            self.comma(nth);
            self.string(&name)?;
            self.text.push_str(": ");
            self.value(value.get(), levels)?;
        }
        self.text.push('}');
        Ok(())
    }

    fn array(&mut self, value: &str, levels: usize) -> Result<(), Not> {
        let elements: Vec<&RawValue> = serde_json::from_str(value).map_err(|_| Not::Json)?;
        self.text.push('[');
        for (nth, value) in elements.into_iter().enumerate() {
            self.comma(nth);
            self.value(value.get(), levels)?;
        }
        self.text.push(']');
        Ok(())
    }

    fn comma(&mut self, nth: usize) {
        if nth > 0 {
            self.text.push_str(", ");
        }
    }

    fn string(&mut self, text: &str) -> Result<(), Not> {
        if text.contains('\0') {
            return Err(Not::Text);
        }
        self.text.push_str(&serde_json::to_string(text).map_err(|_| Not::Text)?);
        Ok(())
    }

    /// Prints a number as a `numeric`: with its decimals, and without an exponent unless that would be long. Returns
    /// `None` if no `numeric` can have that many digits.
    fn number(&mut self, text: &str) -> Option<()> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
        let is_zero = digits.bytes().all(|digit| digit == b'0');
        let sign = if text.starts_with('-') && !is_zero { "-" } else { "" };
        let power: i64 = exponent.map_or(Ok(0), |exponent| exponent.trim_start_matches('+').parse()).ok()?;
        let decimals = i64::try_from(fraction.len()).ok()?.checked_sub(power)?;
        let digits = digits.trim_start_matches('0');
        let before = i64::try_from(digits.len()).ok()?.checked_sub(decimals)?;
        if decimals > MOST_DECIMALS || !is_zero && before > MOST_WHOLE {
            return None;
        }
        let (shown, zeros) = (usize::try_from(decimals).unwrap_or(0), usize::try_from(-decimals).unwrap_or(0));
        let length = usize::try_from(before).unwrap_or(0).max(1) + shown;
        if exponent.is_some() && length > LONGEST_WRITTEN_OUT {
            self.written_out += length;
            let digits = if zeros > 0 { digits.trim_end_matches('0') } else { digits };
            let (first, rest) = digits.split_at_checked(1).unwrap_or(("0", ""));
            let point = if rest.is_empty() { "" } else { "." };
            let exponent = if is_zero { -decimals } else { before - 1 };
            write!(self.text, "{sign}{first}{point}{rest}e{exponent}").ok()
        } else if shown == 0 {
            let (digits, zeros) = if is_zero { ("0", 0) } else { (digits, zeros) };
            write!(self.text, "{sign}{digits}{:0<zeros$}", "").ok()
        } else {
            let digits = format!("{digits:0>width$}", width = shown + 1);
            let (whole, fraction) = digits.split_at(digits.len() - shown);
            write!(self.text, "{sign}{whole}.{fraction}").ok()
        }
    }
}

/// The members of an object, as they were written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EachMember)
    }
}

struct EachMember;

impl<'de> Visitor<'de> for EachMember {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(text: &str) -> Option<String> {
        canonical(text).ok()
    }

    #[test]
    fn a_number_is_written_as_numeric_writes_it() {
        for (number, text) in [
            ("0", "0"),
            ("-0.00", "0.00"),
            ("1.50", "1.50"),
            ("15e-1", "1.5"),
            ("1.55e1", "15.5"),
            ("1.50e1", "15.0"),
            ("0e5", "0"),
            ("0e-3", "0.000"),
            ("12e3", "12000"),
            ("-7E+2", "-700"),
            ("0.001e2", "0.1"),
            ("1e39", &format!("1{}", "0".repeat(39))),
            ("1e40", "1e40"),
            ("10.0e39", "1e40"),
            ("1.5e-50", "1.5e-50"),
            ("0e-90", "0e-90"),
            ("1e131071", "1e131071"),
        ] {
            assert_eq!(printed(number).as_deref(), Some(text), "{number}");
            assert_eq!(printed(text).as_deref(), Some(text), "{text}");
        }
        let long = "9".repeat(100);
        assert_eq!(printed(&long), Some(long));
        for other in ["1e131072", "1e-16384", "1.5e-16383", "1e99999999999999999999", "-1e9223372036854775807"] {
            assert!(matches!(canonical(other), Err(Not::Number(_))), "{other}");
        }
    }

    #[test]
    fn a_text_that_jsonb_would_change_or_refuse_is_explained() {
        let explain = |text: &str| Json.explain(text);
        assert!(explain(r#"{"a":[{"b":1,"b":1}]}"#).contains("the member \"b\" twice"));
        assert!(explain(r#"["\u0000"]"#).contains("\\u0000"));
        assert!(explain("null").contains("null_values"));
        assert!(explain("[1e999999]").contains("too many digits"));
        assert!(explain("{").contains("is not JSON"));
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(printed(&nested(MOST_LEVELS)).is_some() && explain(&nested(MOST_LEVELS + 1)).contains("nested"));
        let bomb = format!("[{}1]", "1e131071,".repeat(300));
        assert!(explain(&bomb).contains("written out"), "{}", explain(&bomb));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            // Few digits, so that serde_json reads them exactly.
            any::<i32>().prop_map(|eighths| serde_json::Value::from(f64::from(eighths) / 8.0)),
            "[a-c\"\\\\\u{1}é\u{7f}😀]{0,4}".prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                prop::collection::btree_map("[a-c]{0,3}", inner, 0..5)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_printed_text_is_the_same_value_and_prints_as_itself(value in any_json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            match printed(&text) {
                None => prop_assert!(value.is_null()),
                Some(printed_text) => {
                    let back: serde_json::Value = serde_json::from_str(&printed_text).unwrap();
                    prop_assert_eq!(without_floats(back), without_floats(value));
                    prop_assert_eq!(printed(&printed_text), Some(printed_text));
                }
            }
        }
    }

    /// Compares numbers as texts, because 1.0 and 1 are equal here.
    fn without_floats(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Number(number) => number.as_f64().map(|number| number.to_string()).into(),
            serde_json::Value::Array(all) => all.into_iter().map(without_floats).collect(),
            serde_json::Value::Object(all) => all
                .into_iter()
                .map(|(name, value)| (name, without_floats(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            other => other,
        }
    }
}
