//! The text of a definition, amended so that it reads another file as well. What a person has written stays as it is.

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value};

use super::dataset::Guessed;
use super::field::{Field, FieldType};
use super::place::Place;

/// A definition that is being amended.
#[derive(Clone, Debug)]
pub struct Amended {
    text: DocumentMut,
    /// The place of the source among those of the definition.
    source: usize,
}

/// Options of a source that say how the cells of all columns are written.
const OF_VALUES: &[&str] = &["decimal_mark", "thousands", "grouping", "trim", "excel_text", "null_values"];

impl Amended {
    /// The definition with this text; its source of that name is amended, or a new one is added for files like this one.
    ///
    /// # Errors
    /// A message if the text is not TOML, or has no such source.
    pub fn of(text: &str, source: Option<&str>, place: &Place) -> Result<Self, String> {
        let mut text: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
        let sources = text.entry("source").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        let sources = sources.as_array_of_tables_mut().ok_or("the sources are not written as [[source]]")?;
        let place = if let Some(name) = source {
            sources
                .iter()
                .position(|table| table.get("name").and_then(Item::as_str) == Some(name))
                .ok_or_else(|| format!("there is no source {name:?} in the definition"))?
        } else {
            let mut table = Table::new();
            table["name"] = toml_edit::value(place.name.chars().take(40).collect::<String>());
            table["files"] = toml_edit::value(place.files.iter().collect::<Array>());
            sources.push(table);
            sources.len() - 1
        };
        Ok(Self { text, source: place })
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        self.text.to_string()
    }

    /// Names questions that are open, so that nothing is loaded under the definition until they are answered.
    pub fn leave_open<'q>(&mut self, ids: impl Iterator<Item = &'q str>) {
        let ids: Array = ids.collect();
        if !ids.is_empty() {
            self.text.insert("open_questions", toml_edit::value(ids));
        }
    }

    fn source(&mut self) -> Option<&mut Table> {
        self.text["source"].as_array_of_tables_mut()?.get_mut(self.source)
    }

    /// The table of a column of the source; it is added if the source does not have it.
    fn column(&mut self, name: &str) -> Option<&mut Table> {
        let columns = self.source()?.entry("column").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        let columns = columns.as_array_of_tables_mut()?;
        let known = columns.iter().position(|table| table.get("name").and_then(Item::as_str) == Some(name));
        let at = known.unwrap_or_else(|| {
            let mut table = Table::new();
            table["name"] = toml_edit::value(name);
            columns.push(table);
            columns.len() - 1
        });
        columns.get_mut(at)
    }

    /// Sets an option of a column of the source.
    fn set_of_column(&mut self, column: &str, option: &str, item: Item) {
        if let Some(table) = self.column(column) {
            table[option] = item;
        }
    }

    /// Takes an option of the layout from what was guessed; if that says nothing, the option is taken out.
    ///
    /// # Errors
    /// A message if what was guessed is not TOML.
    pub fn take_layout(&mut self, option: &str, guessed: &Guessed) -> Result<(), String> {
        if let Some(source) = self.source() {
            source.remove(option);
        }
        for line in &guessed.options {
            if line.option.split('=').next().map(str::trim) == Some(option) {
                self.set(&line.option)?;
            }
        }
        Ok(())
    }

    /// Takes everything that says where the table is from what was guessed.
    ///
    /// # Errors
    /// A message if what was guessed is not TOML.
    pub fn take_place(&mut self, guessed: &Guessed) -> Result<(), String> {
        for option in [
            "header",
            "header_lines",
            "section",
            "sheet",
            "end",
            "footer_lines",
            "anything_after_end",
            "trailing_delimiter",
            "shorter",
            "longer",
            "repeated_header",
            "ruled",
            "skip",
            "blank_between",
        ] {
            self.take_layout(option, guessed)?;
        }
        Ok(())
    }

    fn set(&mut self, line: &str) -> Result<(), String> {
        let parsed: DocumentMut = line.parse().map_err(|error: toml_edit::TomlError| format!("{line}: {error}"))?;
        for (name, item) in parsed.iter() {
            if let Some(source) = self.source() {
                source[name] = item.clone();
            }
        }
        Ok(())
    }

    /// Adds a header that a column has as well.
    pub fn rename(&mut self, column: &str, to: &str, from: &[String]) {
        let names: Array = std::iter::once(to).chain(from.iter().map(String::as_str)).collect();
        self.set_of_column(column, "header", toml_edit::value(names));
    }

    /// Lets files lack a column.
    pub fn make_optional(&mut self, column: &str) {
        self.set_of_column(column, "optional", toml_edit::value(true));
    }

    /// Has a column written as it was guessed.
    ///
    /// # Errors
    /// A message if what was guessed is not TOML.
    pub fn write_as(&mut self, column: &str, field: &Field, guessed: &Guessed) -> Result<(), String> {
        if let Some(table) = self.column(column) {
            for option in
                ["form", "zone", "pivot", "months", "year", "currency", "unit", "unit_pattern", "negative", "percent"]
            {
                table.remove(option);
            }
        }
        self.add_options(column, field, guessed)
    }

    fn add_options(&mut self, column: &str, field: &Field, guessed: &Guessed) -> Result<(), String> {
        let mut lines: Vec<String> = guessed.options.iter().map(|line| line.option.clone()).collect();
        lines.retain(|line| line.split('=').next().is_some_and(|name| OF_VALUES.contains(&name.trim())));
        let number = matches!(field.kind, FieldType::Bigint | FieldType::Decimal { .. });
        lines.retain(|line| {
            number || !["decimal_mark", "thousands", "grouping"].iter().any(|name| line.starts_with(name))
        });
        let own = field.options.iter().filter(|option| option.name != "header" && option.name != "nth");
        lines.extend(own.map(|option| format!("{} = {}", option.name, option.value)));
        for line in lines {
            let parsed: DocumentMut = line.parse().map_err(|error: toml_edit::TomlError| format!("{line}: {error}"))?;
            for (name, item) in parsed.iter() {
                let shared =
                    self.source().and_then(|source| source.get(name)).map(|known| known.to_string().trim().to_owned());
                if shared.as_deref() != Some(item.to_string().trim()) {
                    self.set_of_column(column, name, item.clone());
                }
            }
        }
        Ok(())
    }

    /// Adds a column to the dataset and to the source.
    ///
    /// # Errors
    /// A message if what was guessed is not TOML.
    pub fn add_column(&mut self, field: &Field, guessed: &Guessed) -> Result<(), String> {
        let mut table = Table::new();
        table["name"] = toml_edit::value(field.name.as_str());
        set_type(&mut table, field.kind);
        if let Some(columns) = self
            .text
            .entry("column")
            .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()))
            .as_array_of_tables_mut()
        {
            columns.push(table);
        }
        let header = field.header.as_deref().unwrap_or("").trim();
        self.set_of_column(&field.name, "header", toml_edit::value(header));
        // Files of before do not have it.
        self.make_optional(&field.name);
        self.add_options(&field.name, field, guessed)
    }

    /// Gives a column of the dataset another type.
    pub fn retype(&mut self, column: &str, kind: FieldType) {
        let Some(columns) = self.text["column"].as_array_of_tables_mut() else { return };
        let found = columns.iter_mut().find(|table| table.get("name").and_then(Item::as_str) == Some(column));
        if let Some(table) = found {
            for option in ["precision", "scale"] {
                table.remove(option);
            }
            set_type(table, kind);
        }
    }

    /// The names of the columns of the dataset.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        let columns = self.text.get("column").and_then(Item::as_array_of_tables);
        let name = |table: &Table| table.get("name").and_then(Item::as_str).map(str::to_owned);
        columns.into_iter().flatten().filter_map(name).collect()
    }
}

fn set_type(table: &mut Table, kind: FieldType) {
    table["type"] = toml_edit::value(kind.name());
    if let FieldType::Decimal { precision, scale } = kind {
        let number = |size: usize| Value::from(i64::try_from(size).unwrap_or(38));
        table["precision"] = Item::Value(number(precision));
        table["scale"] = Item::Value(number(scale));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# ours\nname = \"trade\"\ntable = \"trade\"\n\n[[column]]\nname = \"id\"\ntype = \"text\" # never a number\n\n\
        [[source]]\nname = \"acme\"\nfiles = [\"a/**\"]\n\n[[source.column]]\nname = \"id\"\nheader = \"Ref\"\n";

    #[test]
    fn what_a_person_has_written_stays() {
        let mut amended = Amended::of(TEXT, Some("acme"), &Place::default()).unwrap();
        assert_eq!(amended.text(), TEXT);
        amended.rename("id", "Reference", &["Ref".into()]);
        amended.retype("id", FieldType::Decimal { precision: 20, scale: 2 });
        let text = amended.text();
        assert!(
            text.starts_with("# ours\nname = \"trade\"\n") && text.contains("header = [\"Reference\", \"Ref\"]"),
            "{text}"
        );
        assert!(text.contains("type = \"decimal\"") && text.contains("precision = 20\nscale = 2"), "{text}");
        assert!(Amended::of(TEXT, Some("other"), &Place::default()).is_err());
    }

    #[test]
    fn open_questions_are_named_before_all_tables() {
        let mut amended = Amended::of(TEXT, Some("acme"), &Place::default()).unwrap();
        amended.leave_open([].into_iter());
        assert_eq!(amended.text(), TEXT);
        amended.leave_open(["decimal_mark:amt"].into_iter());
        assert_eq!(
            amended.text(),
            TEXT.replacen("table = \"trade\"\n", "table = \"trade\"\nopen_questions = [\"decimal_mark:amt\"]\n", 1)
        );
    }
}
