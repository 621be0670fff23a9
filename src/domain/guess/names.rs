//! Plain names for columns: `snake_case` words, each once, none of them a keyword of SQL.

use unicode_normalization::UnicodeNormalization;

use super::terms;

/// The longest name that a definition takes.
const LONGEST: usize = 40;

/// Words that a name must not be, since it stands in SQL without quotes.
const KEYWORDS: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "pivot",
    "placing",
    "position",
    "precision",
    "primary",
    "qualify",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "summarize",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "unpivot",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "content_key",
    "content",
    "arrival",
];

/// A plain name for a header, without regard to the others; `None` if it has no letter that can be kept.
#[must_use]
pub fn plain(header: &str) -> Option<String> {
    if let Some(name) = terms::name_of(header.trim()) {
        return Some(legal(name));
    }
    let name = snake(&latin(header));
    name.starts_with(|c: char| c.is_ascii_lowercase()).then(|| legal(&name))
}

/// A name that SQL and definitions take as it is.
fn legal(name: &str) -> String {
    let mut name: String = name.chars().take(LONGEST).collect();
    while name.ends_with('_') {
        name.pop();
    }
    if KEYWORDS.contains(&name.as_str()) {
        name.push('_');
        name.push_str("value");
        return name.replace("time_value", "clock_time");
    }
    name
}

/// The names of all columns, each once. A header without a name is `column_N`.
#[must_use]
pub fn unique(wanted: &[Option<String>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (place, name) in wanted.iter().enumerate() {
        let base = name.clone().unwrap_or_else(|| format!("column_{}", place + 1));
        let mut name = base.clone();
        let mut nth = 2;
        while names.contains(&name) {
            let suffix = format!("_{nth}");
            name = base.chars().take(LONGEST - suffix.len()).collect::<String>() + &suffix;
            nth += 1;
        }
        names.push(name);
    }
    names
}

/// Checks whether a name can stand in a definition.
#[must_use]
pub fn is_legal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= LONGEST
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !KEYWORDS.contains(&name)
}

/// Letters of the Latin alphabet for those of others, as far as that is usual.
fn latin(text: &str) -> String {
    let mut plain = String::new();
    for letter in text.nfkd() {
        match letter {
            'ß' => plain.push_str("ss"),
            'æ' | 'Æ' => plain.push_str("ae"),
            'œ' | 'Œ' => plain.push_str("oe"),
            'ø' | 'Ø' => plain.push('o'),
            'ł' | 'Ł' => plain.push('l'),
            'đ' | 'Đ' | 'ð' => plain.push('d'),
            'þ' => plain.push_str("th"),
            'ı' => plain.push('i'),
            '%' => plain.push_str(" percent "),
            '\u{300}'..='\u{36f}' => {}
            letter => match cyrillic(letter) {
                Some(latin) => plain.push_str(latin),
                None => plain.push(letter),
            },
        }
    }
    plain
}

fn cyrillic(letter: char) -> Option<&'static str> {
    const LETTERS: [&str; 32] = [
        "a", "b", "v", "g", "d", "e", "zh", "z", "i", "i", "k", "l", "m", "n", "o", "p", "r", "s", "t", "u", "f", "kh",
        "ts", "ch", "sh", "shch", "", "y", "", "e", "yu", "ya",
    ];
    let lower = letter.to_lowercase().next()?;
    let place = u32::from(lower).checked_sub(u32::from('а'))?;
    LETTERS.get(usize::try_from(place).ok()?).copied()
}

/// `isBuyerMaker`, `Buy/Sell` and `Trade Ref.` as `is_buyer_maker`, `buy_sell` and `trade_ref`.
fn snake(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut name = String::new();
    for (at, letter) in letters.iter().enumerate() {
        if !letter.is_ascii_alphanumeric() {
            // An apostrophe joins what it stands between.
            if !matches!(letter, '\'' | '’') && !name.is_empty() && !name.ends_with('_') {
                name.push('_');
            }
            continue;
        }
        let before = at.checked_sub(1).map_or(' ', |before| letters[before]);
        let after = letters.get(at + 1).copied().unwrap_or(' ');
        let begins = letter.is_ascii_uppercase()
            && (before.is_ascii_lowercase() || before.is_ascii_uppercase() && after.is_ascii_lowercase());
        if begins && !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name.trim_matches('_').to_owned()
}

/// The words of a name.
pub(super) fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_become_plain_names() {
        for (header, name) in [
            ("Buy/Sell", Some("buy_sell")),
            ("isBuyerMaker", Some("is_buyer_maker")),
            ("IBCommissionCurrency", Some("ib_commission_currency")),
            ("Värdepapper/beskrivning", Some("vardepapper_beskrivning")),
            ("Classe d'actif", Some("classe_dactif")),
            ("Größe", Some("grosse")),
            ("Дата сделки", Some("data_sdelki")),
            ("1M %", None),
            ("买入卖出价差", None),
            ("证券代码", Some("stock_code")),
            ("Group", Some("group_value")),
            ("Time", Some("clock_time")),
            ("  ", None),
            ("Source currency (short name, as the exchange has it)", Some("source_currency_short_name_as_the_exchan")),
        ] {
            assert_eq!(plain(header).as_deref(), name, "{header}");
            assert!(plain(header).is_none_or(|name| is_legal(&name)), "{header}");
        }
    }

    #[test]
    fn every_name_is_there_once() {
        let wanted = [Some("cur".into()), None, Some("cur".into()), Some("cur_2".into()), None];
        assert_eq!(unique(&wanted), ["cur", "column_2", "cur_2", "cur_2_2", "column_5"]);
    }
}
