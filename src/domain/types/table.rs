//! Which columns of tables can hold the values of a type.

/// A column of a table, as the catalog of Postgres describes it. For a domain, this is the type beneath it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableColumn<'a> {
    /// The name of its type, such as `timestamp with time zone`.
    pub kind: &'a str,
    /// The most characters of a text, if that is limited.
    pub length: Option<i32>,
    /// The digits of a `numeric`, if they are limited.
    pub precision: Option<i32>,
    /// How many of the digits are after the point.
    pub scale: Option<i32>,
    /// How many decimals the seconds of a time have.
    pub fraction: Option<i32>,
}

/// Whether a column of a table can hold every value of a type exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// No: it would refuse, round or cut some values.
    No,
    /// Yes, after a cast, because its own type is wider.
    Wider,
    /// Yes, and it accepts the binary form as it is.
    Same,
}

impl Fit {
    /// Returns [`Fit::Same`] if `holds`, otherwise [`Fit::No`].
    pub(super) fn same(holds: bool) -> Self {
        if holds { Self::Same } else { Self::No }
    }
}

impl TableColumn<'_> {
    /// Whether this is a column of times of this kind that keeps microseconds.
    pub(super) fn keeps_microseconds(&self, kind: &str) -> bool {
        self.kind == kind && self.fraction.is_none_or(|digits| digits >= 6)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ColumnType, registration};
    use super::*;

    fn kind(name: &str, options: &str) -> ColumnType {
        registration(name).unwrap().kind(&toml::from_str(options).unwrap()).unwrap()
    }

    fn numeric(precision: i32, scale: i32) -> TableColumn<'static> {
        TableColumn { kind: "numeric", precision: Some(precision), scale: Some(scale), ..TableColumn::default() }
    }

    fn found(kind: &str) -> TableColumn<'_> {
        TableColumn { kind, ..TableColumn::default() }
    }

    #[test]
    fn a_column_that_would_round_or_cut_does_not_hold() {
        let money = kind("decimal", "precision = 20\nscale = 2");
        let fit = |column: TableColumn<'_>| money.fit(&column, None);
        assert_eq!(
            (fit(numeric(20, 2)), fit(found("numeric")), fit(numeric(22, 4))),
            (Fit::Same, Fit::Same, Fit::Same)
        );
        assert_eq!((fit(numeric(20, 1)), fit(numeric(20, 4)), fit(numeric(3, 5))), (Fit::No, Fit::No, Fit::No));
        assert_eq!(fit(found("double precision")), Fit::No);
        let text = kind("text", "");
        let varchar = |length| TableColumn { length, ..found("character varying") };
        assert_eq!((text.fit(&varchar(Some(20)), Some(20)), text.fit(&varchar(None), None)), (Fit::Same, Fit::Same));
        assert_eq!((text.fit(&varchar(Some(19)), Some(20)), text.fit(&varchar(Some(19)), None)), (Fit::No, Fit::No));
        assert_eq!(text.fit(&TableColumn { length: Some(20), ..found("character") }, Some(20)), Fit::No);
        let (integer, bigint) = (kind("integer", ""), kind("bigint", ""));
        assert_eq!((integer.fit(&found("bigint"), None), bigint.fit(&found("integer"), None)), (Fit::Wider, Fit::No));
    }

    #[test]
    fn a_column_is_widened_without_changing_a_value_or_not_at_all() {
        let decimal = kind("decimal", "precision = 20\nscale = 2");
        let wider = |kind: &ColumnType, column: TableColumn<'_>| kind.widened(&column);
        assert_eq!(wider(&decimal, numeric(10, 4)).as_deref(), Some("numeric(22, 4)"));
        assert_eq!(wider(&decimal, numeric(30, 1)).as_deref(), Some("numeric(31, 2)"));
        assert_eq!(wider(&decimal, numeric(3, -2)).as_deref(), Some("numeric(20, 2)"));
        assert_eq!(wider(&decimal, found("bigint")).as_deref(), Some("numeric(21, 2)"));
        assert_eq!(wider(&decimal, found("double precision")), None);
        let (small, big) = (kind("smallint", ""), kind("bigint", ""));
        assert_eq!(wider(&big, found("smallint")).as_deref(), Some("bigint"));
        assert_eq!((wider(&small, found("integer")), wider(&big, found("numeric"))), (None, None));
        let varchar = TableColumn { length: Some(3), ..found("character varying") };
        assert_eq!(wider(&kind("text", ""), varchar).as_deref(), Some("character varying"));
        assert_eq!(wider(&kind("text", ""), TableColumn { length: Some(3), ..found("character") }), None);
        for (name, column) in [
            ("time", "time without time zone"),
            ("timestamp", "timestamp with time zone"),
            ("local_timestamp", "timestamp without time zone"),
        ] {
            let rounds = TableColumn { fraction: Some(0), ..found(column) };
            assert_eq!(wider(&kind(name, ""), rounds).as_deref(), Some(column));
        }
        for (name, column) in
            [("timestamp", "timestamp without time zone"), ("json", "json"), ("double", "real"), ("text", "integer")]
        {
            assert_eq!(wider(&kind(name, ""), found(column)), None, "{name}");
        }
    }

    #[test]
    fn a_time_that_would_be_rounded_is_not_held() {
        let keeps_microseconds_alone = |name: &str, column| {
            let fit = |fraction| kind(name, "").fit(&TableColumn { fraction, ..found(column) }, None);
            assert_eq!((fit(Some(6)), fit(None)), (Fit::Same, Fit::Same), "{name}");
            assert!((0..6).all(|digits| fit(Some(digits)) == Fit::No), "{name}");
        };
        keeps_microseconds_alone("timestamp", "timestamp with time zone");
        keeps_microseconds_alone("local_timestamp", "timestamp without time zone");
        keeps_microseconds_alone("time", "time without time zone");
        assert_eq!(kind("timestamp", "").fit(&found("timestamp without time zone"), None), Fit::No);
        assert_eq!(kind("local_timestamp", "").fit(&found("timestamp with time zone"), None), Fit::No);
        assert_eq!(kind("double", "").fit(&found("real"), None), Fit::No);
        assert_eq!(kind("json", "").fit(&found("json"), None), Fit::No);
    }
}
