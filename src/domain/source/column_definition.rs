//! The options of a source that say where the value of each column is and how it is written.

use std::collections::BTreeMap;

use super::cell_form::{CellForm, Value};
use super::columns::Columns;
use super::kind::{Kind, TargetColumn};
use super::layout::{Field, Header};
use super::layout_definition::field;
use super::model::{Named, Origin, Outside, SourceColumn};
use super::schema::{ColumnDefinition, FormatName, FromDefinition, PartDefinition, YearDefinition};
use super::time_definition::TimeOptions;
use super::time_form::StatementYear;
use super::values::{Group, Values, part_pattern};
use crate::domain::column::Literal;
use crate::domain::expression::{Expression, unknown};
use crate::domain::spanned::Spanned;

impl Columns<'_> {
    /// One column for each of the dataset, in its order; those that the source does not name are read under their own name.
    pub(super) fn read(&self, targets: &[TargetColumn], fields: &mut Vec<Field>) -> Result<Vec<SourceColumn>, String> {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        let mut declared = BTreeMap::new();
        for column in &self.source.column {
            let name = &column.get_ref().name;
            if !names.contains(&name.get_ref().as_str()) {
                return Err(self.text.error(name, unknown("column", name.get_ref(), &names)));
            }
            if declared.insert(name.get_ref().as_str(), column.get_ref()).is_some() {
                return Err(self.text.error(name, format!("column {:?} is declared twice", name.get_ref())));
            }
        }
        let read = |target: &TargetColumn| match declared.get(target.name.as_str()) {
            Some(definition) => self.declared(target, definition, fields),
            None => self.undeclared(target),
        };
        targets.iter().map(read).collect()
    }

    fn undeclared(&self, target: &TargetColumn) -> Result<SourceColumn, String> {
        let by_name = !matches!(self.source.format, FormatName::Fixed) && self.header != Header::None;
        if !by_name {
            let message = format!(
                "source {:?} has no header, and does not say where column {:?} is",
                self.source.name.get_ref(),
                target.name
            );
            return Err(self.text.error(&self.source.name, message));
        }
        let header = Named { names: vec![target.name.clone()], nth: None };
        let time = TimeOptions { forms: None, year: None, own: None };
        let (form, zone_header) = self.form(target, &self.values, &time, &self.source.name)?;
        let origin = Origin::Header { header, optional: false };
        Ok(SourceColumn { name: target.name.clone(), origin, form, zone_header, year: None })
    }

    fn declared(
        &self,
        target: &TargetColumn,
        column: &ColumnDefinition,
        fields: &mut Vec<Field>,
    ) -> Result<SourceColumn, String> {
        let own = column.values();
        let kind = if column.part.is_some() { Kind::Decimal } else { target.kind };
        if let Some((option, at, what)) = own.misplaced(kind) {
            return Err(self
                .text
                .error(&at, format!("{option} applies to {what}; column {:?} holds none", target.name)));
        }
        let (origin, at) = self.origin(column, fields)?;
        self.check_additions(column, &origin)?;
        if let Some((option, at)) = own.useless(&origin) {
            let message = format!("{option} says nothing of a column that is no cell of the file");
            return Err(self.text.error(&at, message));
        }
        let values = own.clone().over(&self.values);
        let year = column.year.as_ref().map(|year| self.year(year)).transpose()?.flatten();
        let (mut form, zone_header) = match (&column.part, &column.map) {
            (Some(at), _) => (self.unit_form(target, &values, at)?, None),
            (None, Some(map)) => (self.map_form(target, column, &values, map)?, None),
            (None, None) if matches!(origin, Origin::Expression(_)) => (self.plain(&values, Value::Plain), None),
            // A constant or a number is plain.
            (None, None) if !origin.is_sent() => (self.plain(&Values::default(), Value::Plain), None),
            (None, None) => {
                let time = TimeOptions {
                    forms: column.form.as_ref(),
                    year: column.year.as_ref().map(|year| Spanned::new(year.span(), ())),
                    own: Some(&own),
                };
                self.form(target, &values, &time, &at)?
            }
        };
        if let (Some(YearDefinition::Fixed(year)), Value::Time(rule)) =
            (column.year.as_ref().map(Spanned::get_ref), &mut form.value)
        {
            rule.calendar.year = Some(StatementYear { year: *year, month: None });
        }
        if !matches!(origin, Origin::Outside(..)) {
            form.part = column.pattern.as_ref().map(part_pattern).transpose().map_err(|wrong| self.wrong(wrong))?;
        }
        Ok(SourceColumn { name: target.name.clone(), origin, form, zone_header, year })
    }

    /// Where the value is, and where the definition says so.
    fn origin(&self, column: &ColumnDefinition, fields: &mut Vec<Field>) -> Result<(Origin, Spanned<()>), String> {
        let place = |span: std::ops::Range<usize>| Spanned::new(span, ());
        let mut origins: Vec<(Origin, Spanned<()>)> = Vec::new();
        if let Some(header) = &column.header {
            let header_at = place(header.span());
            let names = header.get_ref().to_vec();
            if names.is_empty() {
                return Err(self.text.error(header, "header lists no name"));
            }
            let nth = column.nth.as_ref().map(|nth| *nth.get_ref());
            let optional = column.optional.as_ref().is_some_and(|optional| *optional.get_ref());
            origins.push((Origin::Header { header: Named { names, nth }, optional }, header_at));
        }
        if let Some(position) = &column.position {
            let index = position.get_ref().checked_sub(1);
            let index = index.ok_or_else(|| self.text.error(position, "positions are numbered from 1"))?;
            origins.push((Origin::Position(index), place(position.span())));
        }
        if let Some(at) = &column.at {
            if self.source.format != FormatName::Fixed {
                return Err(self.text.error(at, "at says nothing of a file whose format is not \"fixed\""));
            }
            origins.push((Origin::Position(field(self.text, at, fields)?), place(at.span())));
        }
        if let Some(join) = &column.join {
            if join.get_ref().len() < 2 {
                return Err(self.text.error(join, "join names two columns or more"));
            }
            let headers = join.get_ref().iter().map(|name| Named { names: vec![name.clone()], nth: None }).collect();
            origins.push((Origin::Join { headers, partial: column.partial.is_some() }, place(join.span())));
        }
        if let Some(from) = &column.from {
            origins.push((self.origin_outside(column, from)?, place(from.span())));
        }
        if let Some(expression) = &column.expression {
            let parsed = Expression::over_cells(expression.get_ref());
            let parsed = parsed.map_err(|message| self.text.error(expression, message))?;
            origins.push((Origin::Expression(parsed), place(expression.span())));
        }
        if let Some((_, second)) = origins.get(1) {
            let message = "a column comes from one place: header, position, at, join, from or expression";
            return Err(self.text.error(second, message));
        }
        let own_name = || {
            let names = vec![column.name.get_ref().clone()];
            let nth = column.nth.as_ref().map(|nth| *nth.get_ref());
            let optional = column.optional.as_ref().is_some_and(|optional| *optional.get_ref());
            (Origin::Header { header: Named { names, nth }, optional }, place(column.name.span()))
        };
        let (origin, at) = origins.pop().unwrap_or_else(own_name);
        self.check_origin(&origin, &at)?;
        Ok((origin, at))
    }

    fn check_origin(&self, origin: &Origin, at: &Spanned<()>) -> Result<(), String> {
        let named = matches!(origin, Origin::Header { .. } | Origin::Join { .. } | Origin::Expression(_));
        if named && (self.header == Header::None || self.source.format == FormatName::Fixed) {
            return Err(self.text.error(at, "the file has no header; say where the cell is with position or at"));
        }
        let by_name_alone = matches!(self.source.format, FormatName::JsonLines | FormatName::Parquet);
        if by_name_alone && matches!(origin, Origin::Position(_) | Origin::Outside(Outside::Preamble, _)) {
            return Err(self
                .text
                .error(at, format!("a file of format {:?} has names alone", self.source.format.name())));
        }
        if by_name_alone && matches!(origin, Origin::Header { header: Named { nth: Some(_), .. }, .. }) {
            return Err(self
                .text
                .error(at, format!("a file of format {:?} has each name once", self.source.format.name())));
        }
        Ok(())
    }

    fn origin_outside(&self, column: &ColumnDefinition, from: &Spanned<FromDefinition>) -> Result<Origin, String> {
        let pattern = || column.pattern.as_ref().map(part_pattern).transpose().map_err(|wrong| self.wrong(wrong));
        Ok(match from.get_ref() {
            FromDefinition::Key => Origin::Outside(Outside::Key, pattern()?),
            FromDefinition::Part => Origin::Outside(Outside::Part, pattern()?),
            FromDefinition::Preamble if column.pattern.is_none() => {
                return Err(self
                    .text
                    .error(from, "the preamble has several lines; say with pattern which part of which counts"));
            }
            FromDefinition::Preamble => Origin::Outside(Outside::Preamble, pattern()?),
            FromDefinition::Record => Origin::Record,
            FromDefinition::Line => Origin::Line,
            FromDefinition::Constant => match &column.value {
                Some(value) => Origin::Constant(value.get_ref().to_string()),
                None => return Err(self.text.error(from, "a constant needs a value")),
            },
        })
    }

    /// Options that only some origins have.
    fn check_additions(&self, column: &ColumnDefinition, origin: &Origin) -> Result<(), String> {
        let is_header = matches!(origin, Origin::Header { .. });
        let is_cell = is_header || matches!(origin, Origin::Position(_));
        let has_text = origin.is_sent();
        let needs = |option: Option<std::ops::Range<usize>>, holds: bool, message: &str| match option {
            Some(at) if !holds => Err(self.text.error_at(at.start, message)),
            _ => Ok(()),
        };
        let span = |option: Option<std::ops::Range<usize>>| option;
        needs(span(column.nth.as_ref().map(Spanned::span)), is_header, "nth goes with a header")?;
        needs(span(column.optional.as_ref().map(Spanned::span)), is_header, "optional goes with a header")?;
        needs(
            column.partial.as_ref().map(Spanned::span),
            matches!(origin, Origin::Join { .. }),
            "partial goes with join",
        )?;
        needs(
            column.value.as_ref().map(Spanned::span),
            matches!(origin, Origin::Constant(_)),
            "value goes with from = \"constant\"",
        )?;
        needs(column.part.as_ref().map(Spanned::span), is_cell, "a unit is a part of a cell")?;
        needs(
            column.pattern.as_ref().map(Spanned::span),
            has_text,
            "pattern goes with a cell, the key, the preamble or the part",
        )?;
        needs(
            column.form.as_ref().map(Spanned::span),
            has_text,
            "form goes with a cell, the key, the preamble or the part",
        )?;
        needs(
            column.map.as_ref().map(Spanned::span),
            has_text,
            "map goes with a cell, the key, the preamble or the part",
        )?;
        if let Some(nth) = column.nth.as_ref().filter(|nth| *nth.get_ref() == 0) {
            return Err(self.text.error(nth, "nth is numbered from 1"));
        }
        if let Some(map) = &column.map {
            let own = column.values();
            let groups = [Group::Numbers, Group::Moments, Group::Dates, Group::Booleans];
            let of_values = groups.into_iter().any(|group| own.first_of(group).is_some());
            if column.form.is_some() || column.part.is_some() || column.year.is_some() || of_values {
                return Err(self.text.error(
                    map,
                    "a map lists whole cells; form, part, year and the options of numbers, times and booleans say nothing of them",
                ));
            }
        }
        if let (Some(at), true) = (&column.part, column.form.is_some() || column.year.is_some()) {
            return Err(self.text.error(at, "a unit has no form and no year"));
        }
        Ok(())
    }

    fn unit_form(
        &self,
        target: &TargetColumn,
        values: &Values,
        at: &Spanned<PartDefinition>,
    ) -> Result<CellForm, String> {
        if target.kind != Kind::Text {
            return Err(self.text.error(at, format!("a unit is text; column {:?} is not", target.name)));
        }
        if !values.has_unit() {
            return Err(self.text.error(at, "say with currency, unit or unit_pattern which units there are"));
        }
        let number = values.number(Kind::Decimal).map_err(|wrong| self.wrong(wrong))?;
        Ok(self.plain(values, Value::Unit(Box::new(number))))
    }

    fn map_form(
        &self,
        target: &TargetColumn,
        column: &ColumnDefinition,
        values: &Values,
        map: &Spanned<BTreeMap<String, Literal>>,
    ) -> Result<CellForm, String> {
        if map.get_ref().is_empty() {
            return Err(self.text.error(&column.name, format!("the map of column {:?} is empty", target.name)));
        }
        let pairs = map.get_ref().iter().map(|(from, to)| (from.clone(), to.to_string()));
        Ok(self.plain(values, Value::Map(pairs.collect())))
    }

    /// How the cells of a column are read that are neither a unit nor mapped.
    fn form(
        &self,
        target: &TargetColumn,
        values: &Values,
        time: &TimeOptions<'_>,
        at: &Spanned<impl Sized>,
    ) -> Result<(CellForm, Option<Named>), String> {
        if let Some(forms) = time.forms.filter(|_| !target.kind.is_time()) {
            return Err(self
                .text
                .error(forms, format!("form applies to dates and times; column {:?} holds none", target.name)));
        }
        if let Some(year) = time.year.as_ref().filter(|_| !target.kind.is_time()) {
            return Err(self.text.error(year, format!("year applies to dates; column {:?} holds none", target.name)));
        }
        let workbook = self.source.format == FormatName::Xlsx;
        let value = match target.kind {
            Kind::Text => Value::Plain,
            Kind::Json => Value::Json,
            Kind::Boolean => match values.words().map_err(|wrong| self.wrong(wrong))? {
                Some((yes, no)) => Value::Words(yes, no),
                None if workbook => Value::Words(vec!["TRUE".into()], vec!["FALSE".into()]),
                None => Value::Plain,
            },
            kind if kind.is_number() && (workbook || values.has_numbers()) => {
                Value::Number(Box::new(values.number(kind).map_err(|wrong| self.wrong(wrong))?))
            }
            kind if kind.is_number() => Value::Plain,
            _ => return self.time_form(target, values, time, at),
        };
        Ok((self.plain(values, value), None))
    }
}
