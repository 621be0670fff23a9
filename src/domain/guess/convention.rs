//! What the columns of a file have in common: the decimal mark, and the order of day and month.

use std::collections::{BTreeMap, BTreeSet};

use super::column::{Cells, Found, Sent};
use super::field::{Field, FieldType};
use super::moments::Order;
use super::names::words;
use super::numbers::{Mark, Numbers};
use super::place::Line;
use super::toml_text;
use crate::domain::source::cell_form::Clean;

/// What some columns tell of the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Convention {
    /// The decimal mark that some columns need, if they agree.
    pub(super) mark: Option<Mark>,
    /// A column that needs it.
    pub(super) mark_of: String,
    /// Whether columns need different marks.
    pub(super) conflict: bool,
    /// Whether a point between digits may be one between thousands, since nothing says otherwise.
    pub(super) point_is_doubtful: bool,
    /// The order of day and month that some column decides, by the sign between them.
    orders: BTreeMap<char, Option<(Order, String)>>,
    thousands: BTreeSet<char>,
    /// Whether digits are grouped as in India.
    indian: bool,
}

/// Words of headers in languages that write a decimal comma.
const COMMA_WORDS: &[&str] = &[
    "betrag",
    "kurs",
    "menge",
    "stück",
    "anzahl",
    "preis",
    "wert",
    "datum",
    "buchungstag",
    "gebühr",
    "saldo",
    "währung",
    "umsatz",
    "nominale",
    "stk",
    "montant",
    "quantité",
    "prix",
    "cours",
    "libellé",
    "débit",
    "crédit",
    "solde",
    "frais",
    "valeur",
    "importo",
    "quantità",
    "prezzo",
    "descrizione",
    "valuta",
    "controvalore",
    "commissioni",
    "importe",
    "cantidad",
    "precio",
    "fecha",
    "descripción",
    "comisión",
    "efectivo",
    "quantidade",
    "preço",
    "descrição",
    "comissão",
    "bedrag",
    "aantal",
    "koers",
    "prijs",
    "waarde",
    "omschrijving",
    "belopp",
    "antal",
    "värdepapper",
    "courtage",
    "beløb",
    "kurtage",
    "beløp",
    "kwota",
    "ilość",
    "cena",
    "wartość",
    "prowizja",
    "částka",
    "množství",
    "objem",
    "poplatek",
    "összeg",
    "mennyiség",
    "árfolyam",
    "suma",
    "cantitate",
    "preț",
    "сумма",
    "количество",
    "цена",
    "дата",
    "tutar",
    "adet",
    "fiyat",
    "määrä",
    "hinta",
    "summa",
];

/// Checks whether a header is in a language that writes a decimal comma.
fn has_decimal_comma(header: &str) -> bool {
    let lower = header.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).any(|word| COMMA_WORDS.contains(&word))
}

/// Words for rates.
const RATES: &[&str] = &["rate", "rates", "fx", "taux", "cambio", "tasa", "tasso"];

/// Whether a column has rates each of which has one mark before three digits, which need not be that of the other columns.
pub(super) fn is_lone_rate(column: &Sent<'_>, numbers: &Numbers) -> bool {
    let header = column.header.as_deref().unwrap_or_default().to_lowercase();
    let is_rate =
        |word: &str| RATES.contains(&word) || ["kurs", "kurse", "koers"].iter().any(|end| word.ends_with(end));
    numbers.lone && (header.split(|c: char| !c.is_alphanumeric()).any(is_rate) || words(&column.name).any(is_rate))
}

impl Convention {
    pub(super) fn of(sent: &[Sent<'_>], found: &[Found], sheet: bool, semicolons: bool) -> Self {
        let mut convention = Self::default();
        let mut needed: Vec<(Mark, &str)> = Vec::new();
        for (column, found) in sent.iter().zip(found) {
            match &found.cells {
                Cells::Number(numbers) if numbers.sure && !(sheet && found.has_numbers) => {
                    needed.extend(numbers.mark.map(|mark| (mark, column.name.as_str())));
                }
                Cells::Times(readings) => {
                    let Some(sign) = readings[0].sign().filter(|_| readings[0].order != Order::YearFirst) else {
                        continue;
                    };
                    let numeric = readings[0].forms.iter().all(|form| form.contains("%m"));
                    if readings.len() == 1 && numeric {
                        let decided = (readings[0].order, column.name.clone());
                        let known = convention.orders.entry(sign).or_insert_with(|| Some(decided.clone()));
                        if known.as_ref().is_some_and(|(order, _)| *order != decided.0) {
                            *known = None;
                        }
                    }
                }
                _ => {}
            }
        }
        convention.conflict = needed.iter().any(|(mark, _)| *mark != needed[0].0);
        if let Some((mark, name)) = needed.first().filter(|_| !convention.conflict) {
            (convention.mark, convention.mark_of) = (Some(*mark), (*name).to_owned());
        }
        // In China, Japan and Korea a comma is never a decimal mark.
        let is_wide =
            |c: char| matches!(c, '\u{3040}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}');
        if needed.is_empty()
            && sent.iter().filter_map(|column| column.header.as_deref()).any(|header| header.contains(is_wide))
        {
            convention.mark = Some(Mark::Point);
        }
        // Where a comma is the decimal mark, a lone point is one between thousands.
        let comma_language = sent.iter().filter_map(|column| column.header.as_deref()).any(has_decimal_comma);
        convention.point_is_doubtful = (semicolons || comma_language) && needed.is_empty();
        if !convention.conflict {
            let mark = convention.mark.unwrap_or(Mark::Point);
            for (column, found) in sent.iter().zip(found) {
                if let Cells::Number(numbers) = &found.cells
                    && !is_lone_rate(column, numbers)
                    && (numbers.mark == Some(mark) || numbers.mark.is_none() && convention.mark.is_some())
                {
                    convention.thousands.extend(numbers.thousands(mark));
                    convention.indian |= numbers.indian;
                }
            }
        }
        convention
    }

    /// The order of day and month that another column decides, and which one.
    pub(super) fn order(&self, sign: Option<char>) -> Option<&(Order, String)> {
        self.orders.get(&sign?)?.as_ref()
    }

    /// Whether the decimal mark is declared for all columns of the source.
    pub(super) fn is_shared(&self) -> bool {
        !self.conflict
    }

    /// Whether other columns have this mark between thousands.
    pub(super) fn sets_apart(&self, mark: Mark) -> bool {
        self.is_shared() && self.thousands.contains(&mark.sign())
    }

    /// The mark that all columns share.
    pub(super) fn shared_mark(&self) -> Mark {
        self.mark.unwrap_or(Mark::Point)
    }

    /// The options that hold for all columns.
    pub(super) fn options(&self, clean: Clean, fields: &[Field]) -> Vec<Line> {
        let mut lines = Vec::new();
        if clean.trim {
            lines.push(Line::new("trim = true", "some cells have blanks or tabs around their value"));
        }
        if clean.excel_text {
            lines.push(Line::new("excel_text = true", "some cells are written as =\"…\""));
        }
        let numbers = fields.iter().any(|field| matches!(field.kind, FieldType::Bigint | FieldType::Decimal { .. }));
        if !self.is_shared() || !numbers {
            return lines;
        }
        if self.shared_mark() == Mark::Comma {
            lines.push(Line::new(
                "decimal_mark = \",\"",
                format!("column {} can be read in no other way", self.mark_of),
            ));
        }
        if !self.thousands.is_empty() {
            let marks: Vec<String> = self.thousands.iter().map(char::to_string).collect();
            lines.push(Line::new(
                format!("thousands = {}", toml_text::one_or_list(&marks)),
                "groups of three digits are set apart",
            ));
        }
        if self.indian {
            lines.push(Line::new("grouping = \"indian\"", "groups before the last have two digits"));
        }
        lines
    }
}
