//! Long SQL stands in files of its own. What differs from dataset to dataset are holes in it, written as variables of psql: `:table`.

use tokio_postgres::types::ToSql;

/// Fills the holes of a file with SQL. A line that is a comment is left out.
pub(super) fn filled(file: &str, holes: &[(&str, &str)]) -> String {
    let mut sql = String::with_capacity(2 * file.len());
    for line in file.lines().filter(|line| !line.trim_start().starts_with("--")) {
        if !sql.is_empty() {
            sql.push('\n');
        }
        let mut parts = line.split(':');
        sql.push_str(parts.next().unwrap_or_default());
        let mut is_cast = false;
        for part in parts {
            let (name, rest) = part.split_at(part.find(|letter| !is_in_name(letter)).unwrap_or(part.len()));
            match holes.iter().find(|(hole, _)| *hole == name && !is_cast) {
                Some((_, value)) => sql.extend([*value, rest]),
                None => sql.extend([":", part]),
            }
            // The second colon of `::text` begins no hole.
            is_cast = part.is_empty();
        }
    }
    sql
}

/// A parameter of a statement.
pub(super) type Parameter<'a> = (&'a str, &'a (dyn ToSql + Sync));

/// Fills the holes of a file with the parameters that have their names. Returns the statement and the parameters in its order.
pub(super) fn with_parameters<'a>(file: &str, parameters: &[Parameter<'a>]) -> (String, Vec<&'a (dyn ToSql + Sync)>) {
    let numbers: Vec<String> = (1..=parameters.len()).map(|number| format!("${number}")).collect();
    let holes: Vec<_> = parameters.iter().zip(&numbers).map(|((name, _), number)| (*name, number.as_str())).collect();
    (filled(file, &holes), parameters.iter().map(|(_, value)| *value).collect())
}

fn is_in_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_by_its_name() {
        let (statement, parameters) = with_parameters("select :b::text, :a, :b", &[("a", &1_i32), ("b", &"x")]);
        assert_eq!((statement.as_str(), parameters.len()), ("select $2::text, $1, $2", 2));
    }

    #[test]
    fn a_hole_is_a_whole_name_after_one_colon() {
        let holes = [("load", "7"), ("key", "t.\"a\", t.\"b\""), ("text", "'x'"), ("none", "")];
        for (file, sql) in [
            ("select :load, :load_id, (:key)::text, a::text", "select 7, :load_id, (t.\"a\", t.\"b\")::text, a::text"),
            (":load::text:none, :text", "7::text, 'x'"),
            ("-- of :load\nselect 1\n    -- and\n    where :load", "select 1\n    where 7"),
            ("select to_char(now(), 'HH24:MI'), a[1:2]", "select to_char(now(), 'HH24:MI'), a[1:2]"),
        ] {
            assert_eq!(filled(file, &holes), sql);
        }
    }

    #[test]
    fn what_fills_a_hole_has_none() {
        assert_eq!(filled(":a", &[("a", "':b'::text"), ("b", "1")]), "':b'::text");
    }
}
