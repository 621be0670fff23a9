//! The source `http`: what a server answers is landed and loaded, only from listed origins, and completely or not at
//! all.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::command_line::{small_etl, text};
use crate::contract::{ASSETS, TRADES};
use crate::parts::config;
use crate::support::Scratch;
use crate::support::emulator::Emulator;
use crate::support::web::{Asked, WebServer, response};
use crate::tls::authority;
use crate::world::{World, moto, signal};

/// Lets the dataset `asset` be fetched from this origin, with additional options.
fn fetching(scratch: &Scratch, world: &mut World, origin: &str, options: &str) {
    let settings = format!(
        "[[pipeline.asset.extractor]]\ntype = \"http\"\norigins = [\"{origin}\"]\nprefix = \"incoming/assets/http/\"\n\
         bucket = \"{}\"\n{options}\n[[pipeline.asset.extractor]]\ntype = \"s3_csv\"\n",
        world.bucket
    );
    world.config = Some(config(scratch, &settings));
}

const PRIVATE: &str = "private_addresses = true";

fn load(scratch: &Scratch, world: &World, url: &str) -> Result<Value, String> {
    let output = small_etl(scratch, &world.variables(), &["load", url, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let load = report["loads"].get(0).cloned();
    load.ok_or_else(|| text(&output))
}

/// Returns the versions of objects that were landed.
async fn landed(world: &World) -> Vec<String> {
    let listed = world.s3.list_object_versions().bucket(&world.bucket).prefix("incoming/assets/http/").send().await;
    listed.unwrap().versions().iter().map(|version| version.key().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_fetched_once_for_each_etag() {
    let (scratch, mut world) = (Scratch::new("web"), World::on_moto(&[]).await);
    let edition = Arc::new(AtomicU32::new(1));
    let current = Arc::clone(&edition);
    let server = WebServer::start(move |asked, _| {
        let edition = current.load(Ordering::Relaxed);
        let etag = format!("\"{edition}\"");
        if asked.headers.get("if-none-match") == Some(&etag) {
            return response(304, &[("ETag", &etag)], "");
        }
        let body = if edition == 1 { ASSETS.to_owned() } else { ASSETS.replace("2025-12", "2026-01") };
        response(200, &[("ETag", &etag)], &body)
    });
    fetching(&scratch, &mut world, &server.origin, PRIVATE);
    let url = format!("{}/v1/assets.csv?day=1", server.origin);
    let first = load(&scratch, &world, &url).unwrap();
    assert_eq!((&first["status"], &first["inserted"]), (&json!("loaded"), &json!(4)), "{first}");
    let host = server.origin.trim_start_matches("http://");
    assert_eq!(first["key"], format!("incoming/assets/http/{host}/v1/assets.csv?day=1"));
    let again = load(&scratch, &world, &url).unwrap();
    assert_eq!((&again["status"], &again["load_id"]), (&json!("duplicate"), &first["load_id"]), "{again}");
    assert_eq!(server.asked().len(), 2);
    edition.store(2, Ordering::Relaxed);
    let next = load(&scratch, &world, &url).unwrap();
    assert_eq!((&next["status"], &next["updated"]), (&json!("loaded"), &json!(4)), "{next}");
    assert_eq!(landed(&world).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_etag_content_is_told_by_its_hash() {
    let (scratch, mut world) = (Scratch::new("web"), World::on_moto(&[]).await);
    let server = WebServer::start(|_, _| response(200, &[], ASSETS));
    fetching(&scratch, &mut world, &server.origin, PRIVATE);
    let url = format!("{}/assets.csv", server.origin);
    assert_eq!(load(&scratch, &world, &url).unwrap()["status"], "loaded");
    assert_eq!(load(&scratch, &world, &url).unwrap()["status"], "duplicate");
    assert_eq!((server.asked().len(), landed(&world).await.len()), (2, 1));
}

/// Returns each line of the assets as a page.
fn page(asked: &Asked, _: &str) -> Vec<u8> {
    let number: usize = asked.target.rsplit_once('=').map_or(1, |(_, number)| number.parse().unwrap());
    let (header, rows) = ASSETS.split_once('\n').unwrap();
    let row = rows.lines().nth(number - 1).unwrap();
    let next = format!("</assets.csv?page={}>; rel=\"next\"", number + 1);
    let links = [("Link", next.as_str()), ("ETag", "\"of this page\"")];
    response(200, if number < 4 { &links } else { &links[1..] }, &format!("{header}\r\n{row}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_ends_like_a_folder_is_landed_as_a_file() {
    let (scratch, mut world) = (Scratch::new("web"), World::on_moto(&[]).await);
    let server = WebServer::start(|_, _| response(200, &[], ASSETS));
    fetching(&scratch, &mut world, &server.origin, PRIVATE);
    for path in ["/export/", "/export?day=1/"] {
        let report = load(&scratch, &world, &format!("{}{path}", server.origin)).unwrap();
        assert_eq!((&report["status"], &report["read"]), (&json!("loaded"), &json!(4)), "{report}");
        assert!(report["key"].as_str().unwrap().ends_with(&format!("{path}?")), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_interrupts_it_does_not_wait_for_the_server() {
    let (scratch, mut world) = (Scratch::new("web"), World::on_moto(&[]).await);
    let (started, asked) = std::sync::mpsc::channel();
    let server = WebServer::start(move |_, _| {
        started.send(()).unwrap();
        std::thread::sleep(Duration::from_mins(1));
        Vec::new()
    });
    fetching(&scratch, &mut world, &server.origin, PRIVATE);
    let mut command = Command::new(env!("CARGO_BIN_EXE_small-etl"));
    command.args(["load", &format!("{}/assets.csv", server.origin)]).envs(world.variables()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    asked.recv().unwrap();
    let stopped = Instant::now();
    signal(child.id(), "INT");
    let output = text(&child.wait_with_output().unwrap());
    assert!(output.starts_with("exit 3") && output.contains("stopped before it is landed"), "{output}");
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_one_file() {
    let (scratch, mut world) = (Scratch::new("web"), World::on_moto(&[]).await);
    let server = WebServer::start(page);
    fetching(&scratch, &mut world, &server.origin, PRIVATE);
    let url = format!("{}/assets.csv", server.origin);
    let report = load(&scratch, &world, &url).unwrap();
    assert_eq!((&report["read"], &report["inserted"]), (&json!(4), &json!(4)), "{report}");
    // The tag of the first page says nothing about the others, so no condition is sent.
    assert_eq!(load(&scratch, &world, &url).unwrap()["status"], "duplicate");
    let asked = server.asked();
    assert!(asked.len() == 8 && asked.iter().all(|asked| !asked.headers.contains_key("if-none-match")));
    fetching(&scratch, &mut world, &server.origin, "private_addresses = true\nmax_pages = 3");
    assert!(load(&scratch, &world, &url).unwrap_err().contains("more than 3 pages; raise max_pages"));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_are_fetched_page_by_page() {
    let (scratch, mut world) = (Scratch::new("web"), World::on_moto(&[]).await);
    let server = WebServer::start(|asked, _| {
        let line = |id: u32| {
            format!(
                "{{\"account_id\":\"{id}0000000001\",\"account_type\":2,\"cash\":1,\"frozen_cash\":1,\"market_value\":1,\"total_asset\":3,\"updated_at\":\"2025-12-22T14:30:00\"}}"
            )
        };
        match asked.target.as_str() {
            "/a" => response(200, &[("Link", "<b>; rel=next")], &format!("{}\nno json", line(1))),
            _ => response(200, &[], &line(2)),
        }
    });
    fetching(&scratch, &mut world, &server.origin, "private_addresses = true\nform = \"json_lines\"");
    let report = load(&scratch, &world, &format!("{}/a", server.origin)).unwrap();
    assert_eq!(
        (&report["read"], &report["inserted"], &report["rejected"]),
        (&json!(3), &json!(2), &json!(1)),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_the_list_of_origins_and_no_private_address_is_reached() {
    let (scratch, mut world) = (Scratch::new("web"), World::on_moto(&[]).await);
    let elsewhere = WebServer::start(|_, _| response(200, &[], ASSETS));
    let other = elsewhere.origin.clone();
    let server = WebServer::start(move |asked, own| match asked.target.as_str() {
        "/away" => response(302, &[("Location", &format!("{other}/assets.csv"))], ""),
        "/metadata" => response(302, &[("Location", "http://169.254.169.254/latest/meta-data/")], ""),
        "/file" => response(302, &[("Location", "file:///etc/passwd")], ""),
        "/next" => response(200, &[("Link", &format!("<{other}/assets.csv>; rel=\"next\""))], ASSETS),
        "/circle" => response(200, &[("Link", "<circle>; rel=\"next\"")], ASSETS),
        "/round" => response(302, &[("Location", &format!("{own}/round"))], ""),
        _ => response(200, &[], ASSETS),
    });
    fetching(&scratch, &mut world, &server.origin, PRIVATE);
    let refused = |path: &str| load(&scratch, &world, &format!("{}{path}", server.origin)).unwrap_err();
    for (path, origin) in [
        ("/away", elsewhere.origin.as_str()),
        ("/metadata", "http://169.254.169.254"),
        ("/file", "null"),
        ("/next", elsewhere.origin.as_str()),
    ] {
        let error = refused(path);
        assert!(error.contains(&format!("{origin} is not one of the origins; add it")), "{path}: {error}");
    }
    assert!(refused("/circle").contains("its pages link back to a page that was already fetched"));
    assert!(refused("/round").contains("more than 10 redirects"));
    let user = server.origin.replace("http://", "http://me:secret@");
    let error = load(&scratch, &world, &format!("{user}/assets.csv")).unwrap_err();
    assert!(error.contains("a URL must not contain a user") && !error.contains("me:secret"), "{error}");
    let error = load(&scratch, &world, &format!("{}/assets.csv", elsewhere.origin)).unwrap_err();
    assert!(error.contains("no pipeline takes it; name its origin"), "{error}");
    assert!(elsewhere.asked().is_empty());
    // By default, nothing on this machine can be reached, whatever its name.
    server.asked();
    for origin in [server.origin.clone(), server.origin.replace("127.0.0.1", "localhost")] {
        fetching(&scratch, &mut world, &origin, "");
        let error = load(&scratch, &world, &format!("{origin}/assets.csv")).unwrap_err();
        assert!(error.contains("its address is private; set private_addresses = true"), "{error}");
    }
    assert!(server.asked().is_empty() && landed(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_sent_to_the_origin_of_the_url_alone() {
    let (scratch, mut world) = (Scratch::new("web"), World::on_moto(&[]).await);
    let elsewhere = WebServer::start(|_, _| response(200, &[], ASSETS));
    let other = elsewhere.origin.clone();
    let server = WebServer::start(move |asked, _| match asked.headers.get("authorization").map(String::as_str) {
        Some("Bearer canary") => response(307, &[("Location", &format!("{other}/assets.csv"))], ""),
        _ => response(401, &[], ""),
    });
    let secret = format!("web-{}", world.bucket);
    let create = moto().secrets().create_secret().name(&secret).secret_string("{\"authorization\": \"Bearer canary\"}");
    create.send().await.unwrap();
    let options = format!("private_addresses = true\nsecret = \"{secret}\"");
    fetching(&scratch, &mut world, &format!("{}\", \"{}", server.origin, elsewhere.origin), &options);
    let url = format!("{}/assets.csv", server.origin);
    assert_eq!(load(&scratch, &world, &url).unwrap()["inserted"], 4);
    assert!(elsewhere.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
    fetching(&scratch, &mut world, &server.origin, PRIVATE);
    assert!(load(&scratch, &world, &url).unwrap_err().contains("the server refuses access (401); check the secret"));
    let put = moto().secrets().put_secret_value().secret_id(&secret).secret_string("canary");
    put.send().await.unwrap();
    fetching(&scratch, &mut world, &server.origin, &options);
    let error = load(&scratch, &world, &url).unwrap_err();
    assert!(error.contains("it is not a JSON object of headers") && !error.contains("canary"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_whole_is_asked_for_again_and_never_landed_in_part() {
    let (scratch, mut world) = (Scratch::new("web"), World::on_moto(&[]).await);
    let calls = Arc::new(AtomicU32::new(0));
    let server = WebServer::start(move |asked, _| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        let whole = response(200, &[], ASSETS);
        match (asked.target.as_str(), call % 3) {
            ("/flaky", 0) => response(503, &[], ""),
            ("/flaky", 1) | ("/cut", _) => whole[..whole.len() - 30].to_vec(),
            ("/chunk", _) => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nid,a\r\n".to_vec(),
            ("/gone", _) => response(404, &[], ""),
            ("/no-content", _) => response(204, &[], ""),
            ("/endless", _) => [b"HTTP/1.1 200 OK\r\nETag: \"7\"\r\n\r\n", &ASSETS.as_bytes()[..100]].concat(),
            ("/packed", _) => response(200, &[("Content-Encoding", "gzip")], ASSETS),
            ("/slow", _) => {
                std::thread::sleep(Duration::from_secs(10));
                whole
            }
            ("/large", _) => response(200, &[], &"x".repeat(1_100_000)),
            _ => whole,
        }
    });
    fetching(&scratch, &mut world, &server.origin, PRIVATE);
    let report = load(&scratch, &world, &format!("{}/flaky", server.origin)).unwrap();
    assert_eq!((&report["inserted"], server.asked().len()), (&json!(4), 3), "{report}");
    fetching(&scratch, &mut world, &server.origin, "private_addresses = true\nmax_megabytes = 1");
    let refused = |path: &str| load(&scratch, &world, &format!("{}{path}", server.origin)).unwrap_err();
    for (path, expected) in [
        ("/cut", "the body broke off"),
        ("/chunk", "the body broke off"),
        ("/gone", "the server has no such file"),
        ("/no-content", "the server says 204 instead of 200"),
        ("/packed", "which was not requested"),
        ("/endless", "the server does not say how long it is"),
        ("/large", "more than 1 MB; raise max_megabytes"),
    ] {
        let error = refused(path);
        assert!(error.contains(expected), "{path}: {error}");
    }
    let bounded = format!("{PRIVATE}\ntimeout_seconds = 2");
    fetching(&scratch, &mut world, &server.origin, &bounded);
    let slow = load(&scratch, &world, &format!("{}/slow", server.origin)).unwrap_err();
    assert!(slow.contains("it takes longer than timeout_seconds"), "{slow}");
    assert_eq!(landed(&world).await.len(), 1);
    assert_eq!(world.query("select count(*) from etl.load").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_certificate_nobody_vouches_for_is_not_trusted() {
    let (scratch, mut world) = (Scratch::new("web"), World::on_moto(&[]).await);
    let (right, key) = (authority("right"), KeyPair::generate().unwrap());
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &right).unwrap();
    let server = WebServer::with_tls(&certificate.pem(), &key.serialize_pem(), |_, _| response(200, &[], ASSETS));
    let roots = |name: &str, authority: &str| {
        let path = scratch.path().join(name);
        std::fs::write(&path, authority).unwrap();
        ("SSL_CERT_FILE".to_owned(), path.display().to_string())
    };
    fetching(&scratch, &mut world, &server.origin, PRIVATE);
    let url = format!("{}/assets.csv", server.origin);
    let load = |roots: (String, String)| {
        let variables: Vec<_> = world.variables().into_iter().chain([roots]).collect();
        text(&small_etl(&scratch, &variables, &["load", &url]))
    };
    let refused = load(roots("wrong.pem", &authority("wrong").pem()));
    assert!(refused.contains("cannot be fetched") && refused.contains("certificate verify failed"), "{refused}");
    let loaded = load(roots("right.pem", &right.pem()));
    assert!(loaded.starts_with("exit 0"), "{loaded}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_lets_the_function_fetch() {
    let (scratch, mut world) = (Scratch::new("web"), World::new().await);
    let server = WebServer::start(|_, _| response(200, &[("ETag", "\"1\"")], ASSETS));
    fetching(&scratch, &mut world, &server.origin, PRIVATE);
    let log = std::fs::File::create(scratch.path().join("log")).unwrap();
    let ingest = Emulator::start(env!("CARGO_BIN_EXE_ingest").as_ref(), &world.variables(), log.into());
    let url = format!("{}/assets.csv", server.origin);
    let answer = ingest.invoke(&json!({"detail-type": "Scheduled Event", "detail": {"url": url, "dataset": "asset"}}));
    assert_eq!(
        (&answer["loads"][0]["status"], &answer["loads"][0]["inserted"]),
        (&json!("loaded"), &json!(4)),
        "{answer}"
    );
    let wrong = ingest.invoke(&json!({"url": url, "dataset": "trade"}));
    assert!(wrong["errorMessage"].as_str().unwrap().contains("no pipeline takes it"), "{wrong}");
}

#[test]
fn what_could_never_be_loaded_is_refused_at_the_start() {
    let scratch = Scratch::new("web");
    std::fs::write(scratch.path().join("trades.csv"), TRADES).unwrap();
    let run = |settings: &str| {
        let folder = config(&scratch, &format!("[[pipeline.trade.extractor]]\n{settings}"));
        let variables = [("SMALL_ETL_ENV", "test"), ("SMALL_ETL_CONFIG", folder.to_str().unwrap())];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        text(&small_etl(&scratch, &variables, &["validate", "trades.csv", "--dataset", "trade"]))
    };
    let http = "type = \"http\"\norigins = [\"https://a.example\"]\n";
    assert!(run(&format!("{http}prefix = \"in/\"\nbucket = \"b\"")).contains("dataset trade does not claim this key"));
    assert!(run(&format!("{http}prefix = \"incoming/trades\"\nbucket = \"b\"")).contains("prefix must end with /"));
    assert!(run(&format!("{http}prefix = \"incoming/trades/\"")).contains("set bucket, or source.bucket"));
    let path =
        "type = \"http\"\norigins = [\"https://a.example/trades/\"]\nprefix = \"incoming/trades/\"\nbucket = \"b\"";
    assert!(run(path).contains("https://a.example/trades/ is not an origin; write https://HOST"));
    let kafka = "type = \"kafka\"\ntopics = [\"t\"]\nprefix = \"incoming/trades/\"\nbucket = \"b\"\n";
    assert!(run(&format!("{kafka}form = \"json_lines\"\ncolumns = [\"a\"]")).contains("columns are for form"));
    assert!(run(&format!("{kafka}form = \"avro\"")).contains("unknown variant `avro`"));
    let misses = format!("{kafka}form = \"csv\"\ncolumns = [\"account_id\"]");
    assert!(run(&misses).contains("columns lacks account_type, which dataset trade needs"));
    let behind = format!("type = \"s3_csv\"\n[[pipeline.trade.extractor]]\n{kafka}form = \"json_lines\"");
    assert!(run(&behind).contains("another extractor reads what is landed below incoming/trades/; list it after"));
    // Such a part reads only what it has landed.
    assert!(run(&format!("{kafka}form = \"json_lines\"")).contains("no extractor of its dataset reads this key"));
}
