use super::*;

fn form(value: Value) -> CellForm {
    CellForm { clean: Clean::default(), null_values: vec![String::new(), "-".into()], part: None, value }
}

fn times(forms: &[&str], wanted: Wanted, zone: ZoneOf) -> CellForm {
    form(Value::Time(Box::new(TimeRule {
        forms: forms.iter().map(|form| TimeForm::parse(form).unwrap()).collect(),
        calendar: Calendar::default(),
        wanted,
        zone,
        doubtful: Doubtful::default(),
    })))
}

/// A whole number that a double cannot tell from its neighbours may not be the one that was written.
#[test]
fn a_number_of_a_workbook_is_what_was_written_or_refused() {
    let number = |double| form(Value::Number(Box::new(NumberForm { double, ..NumberForm::default() })));
    let of = |text, kind| Cell { text, kind };
    let written = |form: &CellForm, text, kind| write(form, of(text, kind), None).map(Option::unwrap);
    let (kept, first, lost) = ("9007199254740991", "9007199254740992", "1234567890123456800");
    for text in [kept, "-9007199254740991", "0.30000000000000004", "123456789012.3456"] {
        assert_eq!(written(&number(false), text, CellKind::Number).as_deref(), Ok(text));
    }
    let part = CellForm { part: Some(Regex::new(r"(\d{4})$").unwrap()), ..form(Value::Plain) };
    assert_eq!(write(&number(false), of(first, CellKind::Number), None), Err(Fault::LostDigits));
    for form in [number(false), part, form(Value::Epoch(Epoch::Nanoseconds)), form(Value::Plain)] {
        assert_eq!(write(&form, of(lost, CellKind::Number), None), Err(Fault::LostDigits));
    }
    // A column of doubles holds what the workbook does, and a text or JSON has all of its digits.
    assert_eq!(written(&number(true), lost, CellKind::Number).as_deref(), Ok(lost));
    assert_eq!(written(&number(false), lost, CellKind::Text).as_deref(), Ok(lost));
    assert_eq!(written(&number(false), lost, CellKind::Literal).as_deref(), Ok(lost));
}

#[test]
fn a_percentage_is_the_same_whether_a_number_is_written_as_one_or_as_text() {
    for (percent, cell, expected) in [
        (Percent::Multiply, "0.125", Ok(Some("12.5".to_owned()))),
        (Percent::Keep, "12.5", Ok(Some("12.5".to_owned()))),
        (Percent::Divide, "50", Err(Fault::NoPercent)),
    ] {
        let form = form(Value::Number(Box::new(NumberForm { percent: Some(percent), ..NumberForm::default() })));
        for kind in [CellKind::Text, CellKind::Literal] {
            assert_eq!(write(&form, Cell { text: cell, kind }, None), expected, "{percent:?} {kind:?}");
        }
    }
}

fn write(form: &CellForm, cell: Cell<'_>, zone: Option<&str>) -> Result<Option<String>, Fault> {
    let mut out = String::from("x");
    let outcome = form.write(cell, zone, &mut out);
    assert!(outcome == Ok(true) || out == "x");
    outcome.map(|value| value.then(|| out[1..].to_owned()))
}

fn value(form: &CellForm, cell: &str) -> Result<Option<String>, Fault> {
    write(form, Cell::text(cell), None)
}

#[expect(clippy::unnecessary_wraps, reason = "what is compared with it may be an error")]
fn some(text: &str) -> Result<Option<String>, Fault> {
    Ok(Some(text.to_owned()))
}

#[test]
fn what_stands_around_a_value_is_taken_off_as_declared() {
    let all = Clean { trim: true, excel_text: true, apostrophes: true };
    for (cell, expected) in [
        ("\t20250310 ", "20250310"),
        ("=\"000037\"", "000037"),
        ("'5101770012348831'", "5101770012348831"),
        ("'0042", "0042"),
        (" =\" a \" ", "a"),
        ("\u{3000}x\u{a0}", "x"),
        ("=\"", "=\""),
        ("'", ""),
    ] {
        assert_eq!(all.apply(cell), expected, "{cell:?}");
        assert_eq!(Clean::default().apply(cell), cell);
    }
}

#[test]
fn a_null_mark_is_one_after_the_cell_is_cleaned() {
    let mut plain = form(Value::Plain);
    assert_eq!((value(&plain, "-"), value(&plain, " - ")), (Ok(None), some(" - ")));
    plain.clean.trim = true;
    assert_eq!((value(&plain, " - "), value(&plain, " ")), (Ok(None), Ok(None)));
}

#[test]
fn a_local_time_becomes_utc_and_a_date_stays_one() {
    let shanghai = ZoneOf::Source(Zone::parse("Asia/Shanghai").unwrap());
    let form = times(&["%Y-%m-%d %H:%M:%S%.f", "%Y/%m/%d"], Wanted::Timestamp, shanghai);
    assert_eq!(value(&form, "2025-03-08 00:49:05"), some("2025-03-07T16:49:05Z"));
    assert_eq!(value(&form, "2025-03-08 00:49:05.25"), some("2025-03-07T16:49:05.250000Z"));
    assert_eq!(value(&form, "2025/03/08"), some("2025-03-07T16:00:00Z"));
    assert_eq!(value(&form, "2025/02/30"), Err(Fault::NoSuchDate));
    assert_eq!(value(&form, "08/03/2025"), Err(Fault::Form));
    assert_eq!(value(&form, "0001-01-01 00:00:00"), Err(Fault::OutOfRange));

    let date = times(&["%Y%m%d", "%Y-%m-%d %H:%M:%S"], Wanted::Date, shanghai);
    assert_eq!(value(&date, "20250310"), some("2025-03-10"));
    assert_eq!(value(&date, "2025-03-10 00:00:00"), some("2025-03-10"));
    assert_eq!(value(&date, "2025-03-10 00:00:01"), Err(Fault::TimeOfDay));

    let time = times(&["%H:%M"], Wanted::Time, ZoneOf::None);
    assert_eq!(value(&time, "09:51"), some("09:51:00"));
    let local = times(&["%d.%m.%Y %H:%M:%S"], Wanted::LocalTimestamp, ZoneOf::None);
    assert_eq!(value(&local, "23.01.2025 00:08:32"), some("2025-01-23T00:08:32"));
}

#[test]
fn a_zone_may_stand_in_another_cell_or_in_the_time() {
    let form = times(&["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S%:z"], Wanted::Timestamp, ZoneOf::Cell);
    let at = |cell, zone| write(&form, Cell::text(cell), zone);
    assert_eq!(at("2025-11-09 03:46:32", Some("Europe/Amsterdam")), some("2025-11-09T02:46:32Z"));
    assert_eq!(at("2025-11-09 03:46:32-05:00", None), some("2025-11-09T08:46:32Z"));
    assert_eq!(at("2025-11-09 03:46:32", Some("Nowhere")), Err(Fault::UnknownZone));
    assert_eq!(at("2025-11-09 03:46:32", None), Err(Fault::UnknownZone));
}

#[test]
fn counted_times_are_exact() {
    for (epoch, cell, expected) in [
        (Epoch::Seconds, "1766361603.96", "2025-12-22T00:00:03.960000Z"),
        (Epoch::Milliseconds, "1766361603960", "2025-12-22T00:00:03.960000Z"),
        (Epoch::Microseconds, "-1", "1969-12-31T23:59:59.999999Z"),
        (Epoch::Nanoseconds, "1766361603960001000", "2025-12-22T00:00:03.960001Z"),
        (Epoch::Milliseconds, "0.001", "1970-01-01T00:00:00.000001Z"),
    ] {
        assert_eq!(value(&form(Value::Epoch(epoch)), cell), some(expected), "{cell}");
    }
    for (epoch, cell, fault) in [
        (Epoch::Nanoseconds, "1766361603960001001", Fault::TooFine),
        (Epoch::Seconds, "1.0000001", Fault::TooFine),
        (Epoch::Seconds, "1e9", Fault::Form),
        (Epoch::Seconds, "+1", Fault::Form),
        (Epoch::Seconds, "1.", Fault::Form),
        (Epoch::Seconds, "999999999999", Fault::OutOfRange),
        (Epoch::Seconds, "999999999999999999999", Fault::OutOfRange),
    ] {
        assert_eq!(value(&form(Value::Epoch(epoch)), cell), Err(fault), "{cell}");
    }
}

#[test]
fn words_and_maps_know_what_they_list_and_nothing_else() {
    let words = form(Value::Words(vec!["Yes".into()], vec!["No".into()]));
    assert_eq!(
        (value(&words, "Yes"), value(&words, "No"), value(&words, "-")),
        (some("true"), some("false"), Ok(None))
    );
    assert_eq!(value(&words, "yes"), Err(Fault::Word));
    let map = form(Value::Map(BTreeMap::from([("买入".into(), "48".into())])));
    assert_eq!((value(&map, "买入"), value(&map, "卖出")), (some("48"), Err(Fault::Unmapped)));
}

#[test]
fn a_part_of_a_cell_may_count_alone() {
    let isin = CellForm { part: Some(Regex::new(r"ISIN (\w+)$").unwrap()), ..form(Value::Plain) };
    assert_eq!(value(&isin, "Quill & Pine Ltd / ISIN GB00ZQ31KX73"), some("GB00ZQ31KX73"));
    assert_eq!(value(&isin, "Quill & Pine Ltd"), Err(Fault::NoMatch));
    assert_eq!(value(&isin, "-"), Ok(None));
}

#[test]
fn cells_of_a_workbook_are_what_they_are() {
    let number = |text| Cell { text, kind: CellKind::Number };
    let moment = |text| Cell { text, kind: CellKind::Moment };
    let comma = form(Value::Number(Box::new(NumberForm { decimal_mark: ',', whole: true, ..NumberForm::default() })));
    assert_eq!(write(&comma, number("4.99"), None), some("4.99"));
    assert_eq!(write(&comma, number("1700.0"), None), some("1700"));
    assert_eq!(value(&comma, "4,99"), some("4.99"));
    let text = form(Value::Plain);
    assert_eq!(write(&text, number("300861"), None), some("300861"));
    assert_eq!(write(&text, number("4200096707290865"), None), Err(Fault::LostDigits));
    assert_eq!(write(&text, number("0.000000123456789012345"), None), some("0.000000123456789012345"));
    assert_eq!(write(&text, Cell { text: "#N/A", kind: CellKind::Error }, None), Err(Fault::ErrorCell));

    let zone = ZoneOf::Source(Zone::parse("Asia/Shanghai").unwrap());
    let time = times(&["%Y%m%d"], Wanted::Timestamp, zone);
    assert_eq!(write(&time, moment("2025-01-12T23:14:59"), None), some("2025-01-12T15:14:59Z"));
    assert_eq!(write(&times(&["%Y%m%d"], Wanted::Date, zone), moment("2025-01-12T00:00:00"), None), some("2025-01-12"));
    assert_eq!(write(&times(&["%H:%M"], Wanted::Time, zone), moment("23:14:59"), None), some("23:14:59"));
    assert_eq!(write(&time, number("20250112"), None), some("2025-01-11T16:00:00Z"));
}
