//! Rejects of a source in another encoding than UTF-8, mended in an editor that saves them in its own encoding.

use encoding_rs::{Encoding, UTF_16LE};
use small_etl::domain::LoadReport;

use crate::support::Scratch;
use crate::world::World;

/// A dataset whose files have a header that is ASCII, in this encoding.
fn definition(label: &str) -> String {
    format!(
        r#"
name = "pay"
table = "pay"
key = "pay_id"
version = "arrival"

[[column]]
name = "pay_id"
type = "text"
required = true

[[column]]
name = "note"
type = "text"

[[column]]
name = "amount"
type = "integer"

[[source]]
name = "bank"
files = ["incoming/pays/**"]
encoding = "{label}"
"#
    )
}

async fn world(folder: &Scratch, label: &str) -> World {
    std::fs::write(folder.path().join("pay.toml"), definition(label)).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query("create table pay (pay_id text primary key, note text, amount integer)").await;
    world
}

fn encode(label: &str, text: &str) -> Vec<u8> {
    let encoding = Encoding::for_label(label.as_bytes()).unwrap();
    if encoding == UTF_16LE {
        // Without its byte order mark nobody would know it.
        let text = format!("\u{feff}{}", text.trim_start_matches('\u{feff}'));
        return text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    }
    let (bytes, _, unmappable) = encoding.encode(text);
    assert!(!unmappable, "{text} {label}");
    bytes.into_owned()
}

async fn rejects(world: &World, load: i64, label: &str) -> String {
    let object =
        world.s3.get_object().bucket(&world.bucket).key(format!("rejects/pay/{load}.csv")).send().await.unwrap();
    let bytes = object.body.collect().await.unwrap().to_vec();
    // A byte order mark wins.
    Encoding::for_label(label.as_bytes()).unwrap().decode(&bytes).0.into_owned()
}

async fn send(world: &World, name: &str, bytes: Vec<u8>) -> LoadReport {
    world.drop_file(&format!("incoming/pays/{name}.csv"), bytes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mended_rejects_that_were_saved_as_utf_8_are_read_as_they_were_written() {
    for (label, note) in
        [("gb18030", "中文"), ("windows-1252", "café"), ("big5", "中文"), ("shift_jis", "日本"), ("utf-16le", "中文")]
    {
        let folder = Scratch::new("resaved");
        let world = world(&folder, label).await;
        send(&world, "1", encode(label, &format!("pay_id,note,amount\nP1,{note},x\nP2,{note},y\n"))).await;
        let text = rejects(&world, 1, label).await;
        let mended = text.replace(",x\n", ",1\n").replace(",y\n", ",2\n");
        let plain = mended.trim_start_matches('\u{feff}');
        for (name, bytes) in [
            ("utf_8", plain.as_bytes().to_vec()),
            ("marked", format!("\u{feff}{plain}").into_bytes()),
            ("own", encode(label, &mended)),
        ] {
            world.query("truncate pay").await;
            let report = send(&world, name, bytes).await;
            assert_eq!(report.error, None, "{label} {name}");
            let expected = format!("P1 | {note} | 1\nP2 | {note} | 2");
            assert_eq!(world.query("select * from pay order by 1").await, expected, "{label} {name}");
        }
        // What is still bad comes back in the encoding in which it was sent.
        let half = plain.replace(",2\n", ",z\n");
        let report = send(&world, "half", half.into_bytes()).await;
        assert_eq!(report.counts.unwrap().rejected, 1, "{label}");
        let last = rejects(&world, report.load_id.unwrap().0, label).await;
        let report = send(&world, "last", last.replace(",z\n", ",3\n").into_bytes()).await;
        assert_eq!(report.error, None, "{label}");
        assert_eq!(world.query("select note, amount from pay where pay_id = 'P2'").await, format!("{note} | 3"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mended_rejects_in_a_third_encoding_or_in_two_are_refused() {
    let folder = Scratch::new("resaved");
    let world = world(&folder, "gb18030").await;
    send(&world, "1", encode("gb18030", "pay_id,note,amount\nP1,中文,x\nP2,中文,y\n")).await;
    let mended = rejects(&world, 1, "gb18030").await.replace(",x\n", ",1\n").replace(",y\n", ",2\n");
    // Of the euro sign this encoding has no bytes.
    let report = send(&world, "big5", Encoding::for_label(b"big5").unwrap().encode(&mended).0.into_owned()).await;
    assert_eq!(report.reason.as_deref(), Some("malformed"));
    assert!(report.error.unwrap().contains("saved neither as gb18030 nor as UTF-8; save them as UTF-8"));
    let (head, last) = mended.trim_end().rsplit_once('\n').unwrap();
    let both = [encode("gb18030", &format!("{head}\n")), last.as_bytes().to_vec()].concat();
    let report = send(&world, "both", both).await;
    assert!(
        report.error.as_ref().unwrap().contains("line 3: the record is not in the encoding of those before it"),
        "{report:?}"
    );
    assert_eq!(world.query("select count(*) from pay").await, "0");
}

/// Bytes of UTF-8 are text in most other encodings, and a few texts of those are UTF-8.
#[tokio::test(flavor = "multi_thread")]
async fn rejects_from_before_they_were_marked_load_unless_nobody_can_tell_their_encoding() {
    let folder = Scratch::new("resaved");
    let world = world(&folder, "gb18030").await;
    for (name, note, is_utf_8, is_read) in
        [("1", "买入", false, true), ("2", "买入", true, false), ("3", "模", false, false), ("4", "abc", false, true)]
    {
        world.query("truncate pay, etl.load restart identity cascade").await;
        send(&world, name, encode("gb18030", &format!("pay_id,note,amount\nP{name},{note},x\n"))).await;
        let mended = rejects(&world, 1, "gb18030").await.replace(",x\n", ",1\n");
        let marked = mended.find("bank").unwrap() + "bank".len();
        let end = marked + mended[marked..].find(',').unwrap();
        let old = format!("{}{}", &mended[..marked], &mended[end..]);
        let report =
            send(&world, &format!("m{name}"), if is_utf_8 { old.into_bytes() } else { encode("gb18030", &old) }).await;
        if is_read {
            assert_eq!(report.error, None);
            assert_eq!(world.query("select note from pay").await, note);
        } else {
            assert!(report.error.as_ref().unwrap().contains("can be read as gb18030 and as UTF-8"), "{report:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_with_another_delimiter_or_of_a_source_that_was_renamed_say_what_to_write() {
    let folder = Scratch::new("resaved");
    let world = world(&folder, "gb18030").await;
    send(&world, "1", encode("gb18030", "pay_id,note,amount\nP1,中文,x\n")).await;
    let mended = rejects(&world, 1, "gb18030").await.replace(",x\n", ",1\n");
    let report = send(&world, "semicolons", encode("gb18030", &mended.replace(',', ";"))).await;
    let expected = "these rejects have \";\" between their cells, and source bank writes \",\"; save them with that";
    assert!(report.error.as_ref().unwrap().contains(expected), "{report:?}");
    std::fs::write(folder.path().join("pay.toml"), definition("gb18030").replace("bank", "house")).unwrap();
    let world = world.under(&[]);
    let report = send(&world, "renamed", encode("gb18030", &mended)).await;
    let expected = "the column _source of these rejects names no source of dataset pay; known are house; if the source has another name now, write that";
    assert!(report.error.as_ref().unwrap().contains(expected), "{report:?}");
    let report = send(&world, "house", encode("gb18030", &mended.replace("bank", "house"))).await;
    assert_eq!(report.error, None);
    assert_eq!(world.query("select * from pay").await, "P1 | 中文 | 1");
}
