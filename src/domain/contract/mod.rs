//! What a sender must deliver, made from the definition of a dataset and, if it is not the plain form, of a source.

pub mod example;
mod sent;
mod words;

use super::column::Column;
use super::dataset::Dataset;
use super::source::model::{Origin, Source, SourceColumn};

/// The contract with one sender.
#[derive(Debug)]
pub struct Contract<'d> {
    /// What the rows become.
    pub dataset: &'d Dataset,
    /// How the sender writes them; `None` for the plain form.
    pub source: Option<&'d Source>,
    /// The cells of a record, in the order of the definition.
    pub cells: Vec<Delivered<'d>>,
}

impl Contract<'_> {
    /// A plain row as the sender writes it, `None` for a cell whose text this program cannot tell.
    #[must_use]
    pub fn example(&self, row: &[String]) -> Vec<Option<String>> {
        let columns = self.dataset.file_columns();
        let plain =
            |column: &Column| columns.iter().position(|known| known.name == column.name).and_then(|at| row.get(at));
        self.cells.iter().map(|cell| cell.sent(plain(cell.column?)?)).collect()
    }
}

/// A cell of each record.
#[derive(Debug)]
pub struct Delivered<'d> {
    /// What the header of its column says, or where it is if there is no header.
    pub header: String,
    /// Other names that the header may have.
    pub also: Vec<String>,
    /// The column that it fills; `None` for one that is read in an expression only, or never loaded.
    pub column: Option<&'d Column>,
    /// How the sender writes it.
    pub form: Option<&'d SourceColumn>,
    /// Whether a file may lack the column.
    pub may_lack: bool,
    /// If several cells are one value: the place of this one, and how many there are.
    pub joined: Option<(usize, usize)>,
}

impl<'d> Contract<'d> {
    /// The contract of a dataset with a sender.
    #[must_use]
    pub fn of(dataset: &'d Dataset, source: Option<&'d Source>) -> Self {
        let cells = source.map_or_else(|| plain(dataset), |source| sent_cells(dataset, source));
        Self { dataset, source, cells }
    }

    /// What tells rows apart, as the sender names it; empty if nothing but their content does.
    pub fn key(&self) -> impl Iterator<Item = &Delivered<'d>> {
        self.cells.iter().filter(|cell| cell.column.is_some_and(|column| self.dataset.key.contains(&column.name)))
    }
}

fn plain(dataset: &Dataset) -> Vec<Delivered<'_>> {
    let cell = |name: &str, column| Delivered {
        header: name.to_owned(),
        also: Vec::new(),
        column,
        form: None,
        may_lack: false,
        joined: None,
    };
    dataset.file_columns().iter().map(|column| cell(&column.name, Some(column))).collect()
}

fn sent_cells<'d>(dataset: &'d Dataset, source: &'d Source) -> Vec<Delivered<'d>> {
    let mut cells: Vec<Delivered<'d>> = Vec::new();
    for form in &source.columns {
        let column = dataset.column(&form.name);
        let cell = |names: &[String], nth: Option<usize>| {
            let first = names.first().map_or(form.name.as_str(), String::as_str);
            let nth = nth.map(|nth| format!(" ({nth})")).unwrap_or_default();
            let also = names.iter().skip(1).cloned().collect();
            Delivered { header: format!("{first}{nth}"), also, column, form: Some(form), may_lack: false, joined: None }
        };
        match &form.origin {
            Origin::Header { header, optional } => {
                cells.push(Delivered { may_lack: *optional, ..cell(&header.names, header.nth) });
            }
            Origin::Position(place) => {
                cells.push(Delivered { header: format!("cell {}", place + 1), ..cell(&[], None) });
            }
            Origin::Join { headers, .. } => {
                for (place, header) in headers.iter().enumerate() {
                    let joined = Some((place, headers.len()));
                    cells.push(Delivered { joined, ..cell(&header.names, header.nth) });
                }
            }
            Origin::Expression(expression) => {
                let reads = expression.reads().iter();
                cells.extend(reads.map(|name| Delivered { column: None, ..cell(std::slice::from_ref(name), None) }));
            }
            Origin::Outside(..) | Origin::Constant(_) | Origin::Record | Origin::Line => {}
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    // An expression may read a cell that fills a column itself; the column says more.
    cells.sort_by_key(|cell| cell.column.is_none());
    cells.retain(|cell| cell.column.is_some() || !seen.contains(&cell.header) && seen.insert(cell.header.clone()));
    let named: Vec<String> =
        cells.iter().filter(|cell| cell.column.is_some()).map(|cell| cell.header.clone()).collect();
    cells.retain(|cell| cell.column.is_some() || !named.contains(&cell.header));
    cells
}
