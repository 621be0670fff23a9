//! Columns that are expressions over the cells of a record: what cannot be computed exactly is refused.

use std::fmt::Write as _;

use insta::assert_snapshot;
use small_etl::domain::LoadStatus;

use crate::sources::{BROKER, bytes_of, summary, world_with};
use crate::support::Scratch;

#[tokio::test]
async fn an_expression_that_cannot_be_computed_is_a_reject() {
    let folder = Scratch::new("sources");
    let definition =
        BROKER.replace("upper(left(Konto, 2)) || right(Konto, 3)", "cast(cast(Konto as integer) + 1 as varchar)");
    let world = world_with(&folder, &definition).await;
    let latin =
        "Nummer;Konto;Zeit;Betrag\nL1;41;23.12.2025 08:00;1,5\nL2;4x;23.12.2025 08:00;1,5\nL3;;23.12.2025 08:00;1,5\n";
    let report = world.drop_file("incoming/deals/latin/b.csv", latin).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 3, 1, 2), "{:?}", report.error);
    assert_eq!(world.query("select deal_id, account from deal").await, "L1 | 42");
    assert_snapshot!(world.query("select line, rule, \"column\", value, message, key from etl.reject order by id").await, @r#"
    3 | expression | account | 4x | the expression of the column cannot be computed of "4x" | L2
    4 | required | account | - | the cell holds no value, but one is required | L3
    "#);
    let mended = String::from_utf8(bytes_of(&world, "rejects/deal/1.csv").await)
        .unwrap()
        .replace("4x", "40")
        .replace(";;", ";9;");
    let report = world.drop_file("incoming/deals/plain/b.csv", mended).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 2, 2, 0), "{:?}", report.error);
    assert_eq!(world.query("select deal_id, account from deal order by 1").await, "L1 | 42\nL2 | 41\nL3 | 10");
}

/// Batches are written at once, and each says what is wrong with its own records.
#[tokio::test(flavor = "multi_thread")]
async fn many_expressions_that_cannot_be_computed_are_rejects_each_with_its_own_cell() {
    let folder = Scratch::new("sources");
    let definition =
        BROKER.replace("upper(left(Konto, 2)) || right(Konto, 3)", "cast(cast(Konto as integer) + 1 as varchar)");
    let world = world_with(&folder, &definition).await.under(&[("LOAD__BATCH_SIZE", "20")]);
    let mut latin = "Nummer;Konto;Zeit;Betrag\n".to_owned();
    for row in 0..2000 {
        let bad = if row % 5 == 0 { "x" } else { "" };
        writeln!(latin, "L{row};{row}{bad};23.12.2025 08:00;1,5").unwrap();
    }
    let report = world.drop_file("incoming/deals/latin/b.csv", latin).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 2000, 1600, 400), "{:?}", report.error);
    let wrong = "select count(*) from etl.reject where rule <> 'expression' or 'L' || value <> key || 'x' \
        or message not like '% cannot be computed of \"' || value || '\"'";
    assert_eq!(world.query(wrong).await, "0");
    assert_eq!(world.query("select count(*) from deal where 'L' || account::int - 1 <> deal_id").await, "0");
}

/// The database would round the text of a cell to a number of the same type: '2.5' would be 3.
#[tokio::test]
async fn an_expression_that_compares_a_text_with_a_number_is_refused() {
    let folder = Scratch::new("sources");
    for (expression, is_refused) in [
        ("nullif(Konto, 0)", true),
        ("case when Konto = 3 then 'a' else 'b' end", true),
        ("case when 3 <> Konto then 'a' else 'b' end", true),
        ("case when Konto in ('1', '2') then 'a' else 'b' end", false),
        ("case when Konto in (1, 2) then 'a' else 'b' end", true),
        ("case Konto when 3 then 'a' else 'b' end", true),
        ("case when upper(Konto) is distinct from 2.4 then 'a' else 'b' end", true),
        ("case when cast(Konto as decimal(38, 10)) = 3 then 'a' else 'b' end", false),
        ("case when length(Konto) = 3 and left(Konto, 1) = 'a' then 'a' else 'b' end", false),
    ] {
        let definition = BROKER.replace("upper(left(Konto, 2)) || right(Konto, 3)", expression);
        let world = world_with(&folder, &definition).await;
        let outcome = world.try_load("incoming/deals/latin/none.csv").await;
        let outcome = outcome.map_or_else(|error| error.chain(), |report| report.error.unwrap());
        assert_eq!(
            outcome.contains("is a number, to which the text would be rounded"),
            is_refused,
            "{expression}: {outcome}"
        );
    }
}

#[tokio::test]
async fn an_expression_over_a_name_that_no_file_can_have_is_refused_before_a_claim() {
    let folder = Scratch::new("sources");
    let definition = BROKER.replace("upper(left(Konto, 2)) || right(Konto, 3)", "Konto + Zeit");
    let world = world_with(&folder, &definition).await;
    let error = world.try_load("incoming/deals/latin/b.csv").await.unwrap_err();
    assert!(error.to_string().contains("source latin: an expression is wrong"), "{error}");
    // A rule, and a statistic, over the columns of the table.
    for more in [
        "[[rule]]\nid = \"odd\"\ncolumn = \"account\"\ncheck = \"account = 3\"\nmessage = \"it is not 3\"\n",
        "[[statistic]]\nid = \"threes\"\nexpression = \"count(*) filter (where account in (3, 4))\"\n",
    ] {
        let world = world_with(&folder, &format!("{BROKER}{more}")).await;
        let error = world.try_load("incoming/deals/latin/none.csv").await.unwrap_err().chain();
        assert!(error.contains("account is text and 3 is a number"), "{error}");
    }
}
