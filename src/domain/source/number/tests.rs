use proptest::prelude::*;

use super::*;

fn write(form: &NumberForm, cell: &str) -> Result<String, Fault> {
    let mut out = String::new();
    form.read(cell, &mut String::from("before "))?.write(&mut out);
    let mut spelled = String::new();
    assert_eq!((form.spell(cell, &mut spelled).map(|_| ()), &spelled), (Ok(()), &out), "{cell:?}");
    Ok(out)
}

fn plain() -> NumberForm {
    NumberForm::default()
}

/// It would be a thousand times as large.
#[test]
fn a_number_that_begins_with_zero_has_no_groups() {
    let of = |mark, separator| NumberForm { decimal_mark: mark, thousands: vec![separator], ..NumberForm::default() };
    for (form, cells) in [
        (of(',', '.'), &["0.500", "-0.125", "00.500", "0.500,5", "0.000.123", "012.345"][..]),
        (of('.', ','), &["0,123", "-0,500", "007,123"]),
        (of('.', ' '), &["0 500"]),
        (NumberForm { grouping: Some(Grouping::Indian), ..of('.', ',') }, &["01,25,000", "0,500"]),
    ] {
        for cell in cells {
            assert_eq!(form.write(cell, &mut String::new()), Err(Fault::Grouping), "{cell}");
        }
    }
    let mut out = String::new();
    of(',', '.').write("0,500", &mut out).unwrap();
    assert_eq!(out, "0.500");
}

#[test]
fn what_is_not_declared_is_refused() {
    for (cell, expected) in [("12.50", "12.50"), ("-0.5", "-0.5"), ("007", "007")] {
        assert_eq!(write(&plain(), cell).unwrap(), expected);
    }
    for cell in
        ["", "-", ".5", "5.", "1,000", "1 000", "+5", "5-", "(5)", "$5", "5元", "5%", "1e5", "--5", "５", " 5", "5 "]
    {
        assert!(write(&plain(), cell).is_err(), "{cell:?}");
    }
}

#[test]
fn a_decimal_comma_is_one_only_where_it_is_declared() {
    let comma = NumberForm { decimal_mark: ',', ..plain() };
    assert_eq!(write(&comma, "10,799").unwrap(), "10.799");
    assert_eq!(write(&comma, "10.799"), Err(Fault::NotNumber));
    assert_eq!(write(&plain(), "10,799"), Err(Fault::NotNumber));
}

#[test]
fn thousands_are_groups_of_three() {
    let form = NumberForm { thousands: vec![',', '\u{a0}', '’'], ..plain() };
    assert_eq!(write(&form, "-1,234,567.50").unwrap(), "-1234567.50");
    assert_eq!(write(&form, "1\u{a0}234").unwrap(), "1234");
    assert_eq!(write(&form, "1’234.5").unwrap(), "1234.5");
    assert_eq!(write(&form, "1234").unwrap(), "1234");
    for cell in ["1,23", "1,2345", "1234,567", "1,234’567", "12,34,567"] {
        assert_eq!(write(&form, cell), Err(Fault::Grouping), "{cell:?}");
    }
    for cell in [",123", "1,,234", "1,234,", "1.234,567"] {
        assert!(write(&form, cell).is_err(), "{cell:?}");
    }
}

#[test]
fn a_sign_stands_once_and_where_it_may() {
    let form = NumberForm {
        negative: vec![Negative::Parentheses, Negative::Trailing, Negative::Unicode],
        plus: true,
        currency: vec!["$".into(), "€".into()],
        thousands: vec![','],
        ..plain()
    };
    for (cell, expected) in [
        ("(5)", "-5"),
        ("5-", "-5"),
        ("−5", "-5"),
        ("+5", "5"),
        ("($10,614.48)", "-10614.48"),
        ("-$3,491.75", "-3491.75"),
        ("$-5", "-5"),
        ("5 €", "5"),
        ("$ 5", "5"),
    ] {
        assert_eq!(write(&form, cell).unwrap(), expected, "{cell:?}");
    }
    for cell in ["(-5)", "-5-", "+-5", "(5-)", "(5", "5)", "$5€", "$$5", "£5"] {
        assert!(write(&form, cell).is_err(), "{cell:?}");
    }
}

#[test]
fn a_unit_is_dropped_or_told() {
    let form = NumberForm {
        units: vec!["m".into(), "mn".into()],
        unit_pattern: Some(UnitPattern::new(regex::Regex::new(r"^(?:[A-Z]{3,4}|\([A-Z]{2}\))$").unwrap())),
        thousands: vec![','],
        ..plain()
    };
    for (cell, number, unit) in [
        ("7,020.0m", "7020.0", Some("m")),
        ("3mn", "3", Some("mn")),
        ("0.00000219SOL", "0.00000219", Some("SOL")),
        ("-5,448.48(CN)", "-5448.48", Some("(CN)")),
        ("5 USDT", "5", Some("USDT")),
        ("5", "5", None),
    ] {
        assert_eq!(write(&form, cell).unwrap(), number, "{cell:?}");
        assert_eq!(form.unit(cell).unwrap(), unit, "{cell:?}");
    }
    assert_eq!(write(&form, "5.79(已退款20.00)"), Err(Fault::NotNumber));
    assert!(write(&form, "5mm").is_err() && write(&form, "m5").is_err());
}

#[test]
fn percent_is_kept_or_divided_as_declared() {
    let percent = |percent| NumberForm { percent: Some(percent), plus: true, ..plain() };
    let (keep, divide) = (percent(Percent::Keep), percent(Percent::Divide));
    assert_eq!(write(&keep, "+1.31%").unwrap(), "1.31");
    assert_eq!(write(&keep, "1.31").unwrap(), "1.31");
    for (cell, expected) in
        [("12.5%", "0.125"), ("-0.25%", "-0.0025"), ("1234%", "12.34"), ("100%", "1.00"), ("0%", "0")]
    {
        assert_eq!(write(&divide, cell).unwrap(), expected, "{cell:?}");
    }
    assert_eq!(write(&divide, "12.5"), Err(Fault::NoPercent));
    assert!(write(&keep, "1%%").is_err());
}

#[test]
fn an_exponent_moves_the_point_and_nothing_else() {
    let form = NumberForm { exponent: true, ..plain() };
    for (cell, expected) in [
        ("1.9E-4", "0.00019"),
        ("-4.2352E-7", "-0.00000042352"),
        ("1e3", "1000"),
        ("1.50e+1", "15.0"),
        ("2.500e3", "2500"),
        ("12.345e1", "123.45"),
        ("0e99", "0"),
        ("7.8226", "7.8226"),
    ] {
        assert_eq!(write(&form, cell).unwrap(), expected, "{cell:?}");
    }
    for cell in ["1e999999999999999999999", "1e500", "1e-500", "1e", "e5", "1e+-5", "1e5.0"] {
        assert!(write(&form, cell).is_err(), "{cell:?}");
    }
    assert!(write(&plain(), "1.9E-4").is_err());
}

#[test]
fn a_point_may_lack_a_digit_where_that_is_declared() {
    let form = NumberForm { bare_point: true, ..plain() };
    assert_eq!(write(&form, ".7314").unwrap(), "0.7314");
    assert_eq!(write(&form, "-5.").unwrap(), "-5");
    assert_eq!(write(&form, "."), Err(Fault::NotNumber));
}

#[test]
fn a_column_without_decimals_takes_those_that_are_zero() {
    let form = NumberForm { whole: true, thousands: vec![','], ..plain() };
    assert_eq!(write(&form, "1,700.00").unwrap(), "1700");
    assert_eq!(write(&form, "1,700.50").unwrap(), "1700.50");
}

proptest! {
    /// What is read at once is what is spelled out.
    #[test]
    fn a_short_number_is_read_as_any_other(
        cell in "-?[0-9]{0,4}([.,'][0-9]{1,4}){0,3}[.,]?[0-9]{0,5}",
        comma in any::<bool>(),
        whole in any::<bool>(),
        bare_point in any::<bool>(),
    ) {
        let (decimal_mark, thousands) = if comma { (',', vec!['.', '\'']) } else { ('.', vec![',']) };
        let form = NumberForm { decimal_mark, thousands, bare_point, whole, ..plain() };
        let mut spelled = String::new();
        let outcome = form.spell(&cell, &mut spelled).map(|_| spelled);
        prop_assert_eq!(write(&form, &cell), outcome);
    }

    /// A number written with any marks is read back; without their declaration it is refused or the same.
    #[test]
    fn a_number_comes_back_from_every_form(
        whole in 0_u64..10_000_000_000,
        decimals in "[0-9]{0,6}",
        negative in any::<bool>(),
        comma in any::<bool>(),
        grouped in any::<bool>(),
        parentheses in any::<bool>(),
        before in prop::sample::select(vec!["", "$", "€ "]),
        after in prop::sample::select(vec!["", "元", " USD", "%"]),
    ) {
        let mark = if comma { ',' } else { '.' };
        let separator = if comma { '.' } else { ',' };
        let mut digits = whole.to_string();
        if grouped {
            let mut at = digits.len();
            while at > 3 {
                at -= 3;
                digits.insert(at, separator);
            }
        }
        let plain_decimals = if decimals.is_empty() { String::new() } else { format!(".{decimals}") };
        let decimals = if decimals.is_empty() { String::new() } else { format!("{mark}{decimals}") };
        let sign = if negative { "-" } else { "" };
        let expected = format!("{sign}{whole}{plain_decimals}");
        let unit = !before.is_empty() && !after.is_empty() && after != "%";
        let cell = if parentheses && negative {
            format!("({before}{digits}{decimals}{after})")
        } else {
            format!("{sign}{before}{digits}{decimals}{after}")
        };
        let form = NumberForm {
            decimal_mark: mark,
            thousands: vec![separator],
            currency: vec!["$".into(), "€".into()],
            units: vec!["元".into(), "USD".into()],
            negative: vec![Negative::Parentheses],
            percent: Some(Percent::Keep),
            ..plain()
        };
        if unit {
            prop_assert_eq!(write(&form, &cell), Err(Fault::TwoUnits));
        } else {
            prop_assert_eq!(write(&form, &cell), Ok(expected.clone()));
        }
        // Undeclared, it is refused or taken as it stands.
        prop_assert!(write(&plain(), &cell).is_ok_and(|text| text == cell) || write(&plain(), &cell).is_err());
    }

    /// The point moves as in arithmetic with 128 bits.
    #[test]
    fn shifting_is_exact(number in 1_u64..10_000_000, decimals in 0_u32..7, shift in -8_i64..7) {
        let text = if decimals == 0 {
            number.to_string()
        } else {
            let power = 10_u64.pow(decimals);
            format!("{}.{:0width$}", number / power, number % power, width = decimals as usize)
        };
        let moved = shifted(&text, shift).unwrap();
        let (whole, fraction) = moved.split_once('.').unwrap_or((&moved, ""));
        // number * 10^(shift - decimals), scaled by 10^24.
        let scale = |power: i64| 10_i128.pow(u32::try_from(power).unwrap());
        let expected = i128::from(number) * scale(24 + shift - i64::from(decimals));
        let digits: i128 = format!("{whole}{fraction}").parse().unwrap();
        prop_assert_eq!(digits * scale(24 - i64::try_from(fraction.len()).unwrap()), expected);
        prop_assert!(whole == "0" || !whole.starts_with('0'));
    }
}
