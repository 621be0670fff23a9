//! The promises of SECURITY.md: how programs log in, what is recorded, what is encrypted, and what the role of ingest
//! cannot do.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use insta::assert_snapshot;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::contract::{ASSETS, TRADES};
use crate::support::Scratch;
use crate::support::emulator::Emulator;
use crate::support::postgres::Postgres;
use crate::world::{World, client, moto, query};

fn small_etl(world: &World, arguments: &[&str]) -> (String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_small-etl")).args(arguments).envs(world.variables()).output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Speaks just enough of the protocol to receive a password:
/// <https://www.postgresql.org/docs/current/protocol-flow.html>.
fn password_that_arrives(listener: &TcpListener) -> (String, String) {
    fn message(socket: &mut TcpStream) -> Vec<u8> {
        let mut length = [0; 4];
        socket.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        socket.read_exact(&mut body).unwrap();
        body
    }
    let (mut socket, _) = listener.accept().unwrap();
    let startup = String::from_utf8_lossy(&message(&mut socket)).into_owned();
    let clear_text = [b"R".as_slice(), &8_u32.to_be_bytes(), &3_u32.to_be_bytes()].concat();
    socket.write_all(&clear_text).unwrap();
    let mut kind = [0];
    socket.read_exact(&mut kind).unwrap();
    let password = message(&mut socket);
    let user = startup.split('\0').skip_while(|part| !part.ends_with("user")).nth(1).unwrap().to_owned();
    (user, String::from_utf8_lossy(&password).trim_end_matches('\0').to_owned())
}

const SECRET: &str = "canary/secret+key";

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Returns the parameters of a query, decoded.
fn parameters(token: &str) -> BTreeMap<String, String> {
    url::Url::parse(&format!("https://{token}")).unwrap().query_pairs().into_owned().collect()
}

/// Checks a token as RDS does, which knows the secret: returns who may log in with it, or why nobody may. The signature
/// is computed according to
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
fn let_in(token: &str, secret: &str, now: DateTime<Utc>) -> Result<String, &'static str> {
    let encoded = |text: &str| -> String {
        let byte = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let host = token.split('/').next().unwrap();
    let mut query = parameters(token);
    let signature = query.remove("X-Amz-Signature").ok_or("no signature")?;
    let pairs: Vec<String> =
        query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    let empty = hex::encode(Sha256::digest(b""));
    let request = format!("GET\n/\n{}\nhost:{host}\n\nhost\n{empty}", pairs.join("&"));
    let scope = query["X-Amz-Credential"].split_once('/').ok_or("no scope")?.1;
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        query["X-Amz-Date"],
        hex::encode(Sha256::digest(request.as_bytes()))
    );
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part));
    if hex::encode(hmac(&key, &text)) != signature {
        return Err("the signature is wrong");
    }
    let signed_at = NaiveDateTime::parse_from_str(&query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").unwrap().and_utc();
    let age = (now - signed_at).num_seconds();
    // The clock of the sender may be slightly ahead.
    if age > query["X-Amz-Expires"].parse::<i64>().unwrap() || age < -60 {
        return Err("it is too old, or of tomorrow");
    }
    let for_rds = query["Action"] == "connect" && scope.ends_with("/eu-central-1/rds-db/aws4_request");
    if for_rds { Ok(query["DBUser"].clone()) } else { Err("it is for another service") }
}

#[test]
fn with_iam_the_password_is_a_token_that_rds_can_check() {
    // The credentials of a function are temporary, and then their session is signed as well.
    for session in [None, Some("a session/with+signs==")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut program = Command::new(env!("CARGO_BIN_EXE_small-etl"))
            .args(["migrate"])
            .env_remove("AWS_SESSION_TOKEN")
            .envs([
                ("DATABASE_URL", format!("postgres://small_etl_ingest@127.0.0.1:{port}/etl").as_str()),
                ("SMALL_ETL__DATABASE__LOGIN", "iam"),
                ("AWS_REGION", "eu-central-1"),
                ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
                ("AWS_SECRET_ACCESS_KEY", SECRET),
            ])
            .envs(session.map(|session| ("AWS_SESSION_TOKEN", session)))
            .spawn()
            .unwrap();
        let (user, token) = password_that_arrives(&listener);
        program.wait().unwrap();
        let now = Utc::now();
        assert_eq!(let_in(&token, SECRET, now).as_deref(), Ok("small_etl_ingest"), "{token}");
        assert_eq!(user, "small_etl_ingest");
        assert!(token.starts_with(&format!("127.0.0.1:{port}/?")) && !token.contains("canary"), "{token}");
        let signed = parameters(&token);
        assert!(signed["X-Amz-Credential"].starts_with("AKIDEXAMPLE/"), "{token}");
        assert_eq!(signed.get("X-Amz-Security-Token").map(String::as_str), session);
        assert_eq!(signed["X-Amz-Expires"], "900", "15 minutes, as RDS demands");

        // Nobody else can log in with it, at no other place, and not later.
        let tampered = [
            ("small_etl_ingest", "postgres"),
            ("X-Amz-Expires=900", "X-Amz-Expires=999999"),
            (format!("127.0.0.1:{port}").as_str(), "elsewhere:5432"),
        ]
        .map(|(from, to)| token.replacen(from, to, 1));
        for other in &tampered {
            assert_ne!(*other, token);
            assert_eq!(let_in(other, SECRET, now), Err("the signature is wrong"), "{other}");
        }
        assert_eq!(let_in(&token, "another secret", now), Err("the signature is wrong"));
        assert_eq!(let_in(&token, SECRET, now + TimeDelta::minutes(16)), Err("it is too old, or of tomorrow"));
    }
}

/// Starts a server on which the role `loader` needs a password.
fn server_with_password() -> Postgres {
    Postgres::start(&["fsync=off"], |data| {
        let rules =
            "local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), rules).unwrap();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_nobody_gave_is_told_at_once() {
    let server = server_with_password();
    query(&server.url("postgres"), "create role nameless login password 'one'").await;
    let output = Command::new(env!("CARGO_BIN_EXE_small-etl"))
        .arg("migrate")
        .env("DATABASE_URL", format!("postgres://nameless@127.0.0.1:{}/postgres", server.port))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("DATABASE_URL is incomplete: invalid configuration: password missing"), "{told}");
    assert!(!told.contains("trying again"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_rotated_is_picked_up_without_a_new_deployment() {
    let server = server_with_password();
    let world = World::on_servers(&server, std::sync::Arc::new(crate::support::s3::S3Server::start()), &[]).await;
    let admin = server.url("postgres");
    query(&admin, "create role loader login password 'one' in role small_etl_ingest").await;
    let secrets = moto().secrets();
    let text = |password: &str| json!({"username": "loader", "password": password, "engine": "postgres"}).to_string();
    let name = format!("small-etl/{}", world.bucket);
    let made = secrets.create_secret().name(&name).secret_string(text("one")).send().await.unwrap();
    let arn = made.arn.unwrap();

    let mut variables = world.variables();
    variables.extend([
        ("DATABASE_URL".into(), format!("postgres://127.0.0.1:{}/postgres", server.port)),
        ("SMALL_ETL__DATABASE__LOGIN".into(), "secret".into()),
        ("SMALL_ETL__DATABASE__SECRET_ARN".into(), arn.clone()),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER".into(), moto().endpoint.clone()),
    ]);
    let scratch = Scratch::new("rotation");
    let log = scratch.path().join("log");
    let ingest =
        Emulator::start(Path::new(env!("CARGO_BIN_EXE_ingest")), &variables, File::create(&log).unwrap().into());
    world.put("incoming/assets/1.csv", ASSETS).await;
    world.put("incoming/trades/1.csv", TRADES).await;
    let event = |key: &str| json!({"bucket": world.bucket, "key": key});
    let answer = ingest.invoke(&event("incoming/assets/1.csv"));
    assert_eq!(answer["loads"][0]["status"], "loaded", "{answer}");

    // In the order of Secrets Manager: first the database, then the secret. Sessions with the old password end.
    query(&admin, "alter role loader password 'two'").await;
    secrets.put_secret_value().secret_id(&arn).secret_string(text("two")).send().await.unwrap();
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'loader'";
    query(&admin, end).await;
    let answer = ingest.invoke(&event("incoming/trades/1.csv"));
    assert_eq!(answer["loads"][0]["status"], "loaded", "{answer}");
    assert_eq!(query(&admin, "select distinct login from etl.audit where action like 'load%'").await, "loader");

    query(&admin, "alter role loader password 'three'").await;
    query(&admin, end).await;
    let answer = ingest.invoke(&event("incoming/trades/1.csv"));
    assert_eq!(answer["errorType"], "configuration", "{answer}");
    let log = fs::read_to_string(log).unwrap();
    assert!(!log.contains("\"two\"") && log.contains("fetching the secret anew"), "{log}");
}

#[tokio::test]
async fn a_secret_that_cannot_be_used_is_named_and_not_shown() {
    let world = World::on_moto(&[("DATABASE__LOGIN", "secret"), ("DATABASE__SECRET_ARN", "none-of-this-name")]).await;
    let (_, error) = small_etl(&world, &["migrate"]);
    assert!(
        error.contains("secret none-of-this-name: Secrets Manager refused with ResourceNotFoundException"),
        "{error}"
    );
    let name = format!("small-etl/{}", world.bucket);
    moto().secrets().create_secret().name(&name).secret_string("canary, no JSON").send().await.unwrap();
    let world = world.under_variables(&[("DATABASE__SECRET_ARN", &name)]);
    let (_, error) = small_etl(&world, &["migrate"]);
    assert!(
        error.contains("it must be JSON with \"username\" and \"password\"") && !error.contains("canary"),
        "{error}"
    );
}

#[tokio::test]
async fn what_was_done_is_noted_and_the_ingest_role_can_only_add_to_it() {
    let world = World::new().await.into_ingest_role();
    world.drop_file("incoming/assets/1.csv", ASSETS.replace("305000.00", "1")).await;
    world.drop_file("incoming/assets/2.csv", "").await;
    let again = small_etl::pipeline::Request { again: true, ..world.request("incoming/assets/1.csv") };
    world.run(&again).await.unwrap();
    world.database.delete_rejects(small_etl::domain::LoadId(1)).await.unwrap();
    let owner = World::admin_url(&world);
    assert_snapshot!(query(&owner, "select action, load_id, detail ->> 'key' as key, detail ->> 'run' as run, detail ->> 'reason' as reason, \
        detail ->> 'violations' as violations, login ~ 'ingest$', program ~ '^small-etl/[0-9.]+', client from etl.audit order by id").await, @"
    schema migrated | - | - | - | - | - | f | t | 127.0.0.1
    load loading | 1 | incoming/assets/1.csv | 0 | - | - | t | t | 127.0.0.1
    load loaded | 1 | incoming/assets/1.csv | 0 | - | - | t | t | 127.0.0.1
    load loading | 2 | incoming/assets/2.csv | 0 | - | - | t | t | 127.0.0.1
    load failed | 2 | incoming/assets/2.csv | 0 | empty | - | t | t | 127.0.0.1
    load loading | 3 | incoming/assets/1.csv | 1 | - | - | t | t | 127.0.0.1
    load loaded | 3 | incoming/assets/1.csv | 1 | - | - | t | t | 127.0.0.1
    rejects deleted | 1 | - | - | - | 1 | t | t | 127.0.0.1
    ");

    let (session, _driver) = client(&world.url).await;
    session.batch_execute("insert into etl.audit (action, detail) values ('seen', '{}')").await.unwrap();
    for statement in [
        "update etl.audit set action = 'nothing'",
        "delete from etl.audit",
        "truncate etl.audit",
        "select action from etl.audit",
        "insert into etl.audit (action, login) values ('seen', 'somebody else')",
        "insert into etl.audit (action, at) values ('seen', '2000-01-01')",
        "alter table etl.audit disable trigger append_only",
        "alter table etl.load disable trigger audited_claim",
        "set session_replication_role = replica",
    ] {
        let error = session.batch_execute(statement).await.expect_err(statement);
        assert_eq!(error.code().unwrap().code(), "42501", "{statement}");
    }
    let (session, _driver) = client(&owner).await;
    for statement in ["update etl.audit set action = 'nothing'", "delete from etl.audit", "truncate etl.audit"] {
        let error = session.batch_execute(statement).await.expect_err(statement);
        assert!(error.as_db_error().unwrap().message().contains("append-only"), "{statement}");
    }
}

#[tokio::test]
async fn the_ingest_role_reaches_nothing_but_rows() {
    let world = World::new().await.into_ingest_role();
    let (session, _driver) = client(&world.url).await;
    for statement in [
        "create table public.mine (n int)",
        "create schema mine",
        "drop table trade",
        "delete from trade",
        "truncate asset",
        "delete from etl.load",
        "alter role small_etl_ingest connection limit 99",
        "create role other",
        "select rolpassword from pg_authid",
        "copy trade to '/tmp/out'",
        "copy asset from program 'id'",
        "insert into etl.outbox (type, detail) values ('FileLoaded', '{}')",
        "update etl.outbox set detail = '{}'",
        "update etl.delivery set rows = 0",
        "delete from etl.delivery",
        "delete from etl.data_key",
        "update etl.data_key set wrapped = ''",
        "insert into etl.data_key (id, configured_as, kms_key, wrapped) overriding system value values (-1, '', '', '')",
    ] {
        let error = session.batch_execute(statement).await.expect_err(statement);
        assert_eq!(error.code().unwrap().code(), "42501", "{statement}");
    }
}

#[tokio::test]
async fn what_runs_as_the_owner_takes_nothing_from_the_schema_of_a_session() {
    let world = World::new().await.into_ingest_role();
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    let (session, _driver) = client(&world.url).await;
    let attack = "create function pg_temp.run(pg_catalog.jsonb) returns boolean language plpgsql as $$ \
            begin create table public.stolen (); return true; end $$; \
        create domain pg_temp.jsonb as pg_catalog.jsonb check (pg_temp.run(value)); \
        set small_etl.events = 'on'; \
        update etl.load set state = 'failed', reason = 'empty', error = '' where id = 1";
    session.batch_execute(attack).await.unwrap();
    let stolen = "select to_regclass('public.stolen'), (select string_agg(type, ' ') from etl.outbox)";
    assert_eq!(world.query(stolen).await, "- | FileFailed");
    let error = session.batch_execute("delete from etl.outbox").await.unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("not sent"), "{error:?}");
}

const CLIENT: &str = r#"
name = "client"
table = "client"
key = "client_id"
version = "seen_at"
files = ["incoming/clients/*.csv"]

[[column]]
name = "client_id"
type = "text"
required = true

[[column]]
name = "tax_number"
type = "text"
required = true
min_length = 5
encrypt = true

[[column]]
name = "limit"
type = "decimal"
precision = 12
scale = 2
encrypt = true

[[column]]
name = "seen_at"
type = "timestamp"
required = true
"#;

const CLIENTS: &str = "client_id,tax_number,limit,seen_at
C1,canary-1,100.5,2025-12-22T14:30:00
C2,canary-2,,2025-12-22T14:30:00
C3,cana,7,2025-12-22T14:30:00
C4,canary-4,canary,2025-12-22T14:30:00
";

/// Creates a world with a dataset whose columns are encrypted with a key of KMS.
async fn clients(folder: &Scratch) -> World {
    fs::write(folder.path().join("client.toml"), CLIENT).unwrap();
    let key = moto().kms().create_key().send().await.unwrap().key_metadata.unwrap();
    let folder = folder.path().to_str().unwrap().to_owned();
    let world = World::on_moto(&[("DATASETS__PATH", &folder), ("ENCRYPTION__KMS_KEY", &key.arn.unwrap())]).await;
    world.query("create table public.client (client_id text primary key, tax_number bytea, \"limit\" bytea, seen_at timestamptz)").await;
    world.into_ingest_role()
}

#[tokio::test]
async fn chosen_columns_are_encrypted_in_the_table_and_decrypted_for_who_may_use_the_key() {
    let folder = Scratch::new("clients");
    let world = clients(&folder).await;
    world.put("incoming/clients/1.csv", CLIENTS).await;
    let place = format!("s3://{}/incoming/clients/1.csv", world.bucket);
    let (answer, error) = small_etl(&world, &["load", &place, "--json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{error}"));
    assert_eq!((&answer["loads"][0]["inserted"], &answer["loads"][0]["rejected"]), (&json!(2), &json!(2)));
    let owner = World::admin_url(&world);
    let everything = query(&owner, "select client_id, encode(tax_number, 'escape'), tax_number, \"limit\" from client; \
        select to_jsonb(l) from etl.load l; select to_jsonb(i) from etl.lineage i; select to_jsonb(a) from etl.audit a; \
        select encode(wrapped, 'escape') from etl.data_key; \
        select line, \"column\", rule, message, value, encode(raw, 'escape') from etl.reject order by id").await;
    assert!(!everything.contains("canary") && everything.contains("C1"), "{everything}");

    // A person who may use the key can mend them.
    assert_snapshot!(query(&owner, "select line, \"column\", rule, message, value, data_key from etl.reject order by id").await, @"
    4 | tax_number | min_length | the value breaks rule min_length; it is encrypted and not told | - | 1
    5 | limit | decimal | the value breaks rule decimal; it is encrypted and not told | - | 1
    ");
    let file = world.get(&world.bucket, "rejects/client/1.csv").await;
    assert!(file.contains("C3,cana,7,2025-12-22T14:30:00"), "{file}");

    let (clear, error) = small_etl(&world, &["decrypt", "client"]);
    assert_snapshot!(clear + &error, @"
    client_id,tax_number,limit
    C1,canary-1,100.50
    C2,canary-2,
    ");
    let (one, _) = small_etl(&world, &["decrypt", "client", "C2"]);
    assert_eq!(one, "client_id,tax_number,limit\nC2,canary-2,\n");
    let noted = query(&owner, "select detail ->> 'dataset', detail ->> 'key', detail -> 'columns', login ~ 'ingest$' from etl.audit where action = 'values decrypted' order by id").await;
    assert_snapshot!(noted, @r#"
    client | - | ["tax_number", "limit"] | t
    client | C2 | ["tax_number", "limit"] | t
    "#);

    // The same values give the same bytes: nothing is written.
    let (answer, _) = small_etl(&world, &["load", &place, "--json", "--again"]);
    assert!(answer.contains("\"unchanged\":2"), "{answer}");
    assert_eq!(query(&owner, "select count(*) from etl.data_key").await, "1");

    // Reading rejects in the clear is recorded as well.
    let (rejects, _) = small_etl(&world, &["rejects", "2"]);
    assert!(rejects.contains("rule min_length"), "{rejects}");
    let noted =
        "select login ~ 'ingest$', detail from etl.audit where action = 'rejects decrypted' order by id desc limit 1";
    assert_eq!(query(&owner, noted).await, "t | {\"records\": 2}");

    // A value that was moved to another row is refused.
    query(
        &owner,
        "update client set tax_number = (select tax_number from client where client_id = 'C1') where client_id = 'C2'",
    )
    .await;
    let (_, error) = small_etl(&world, &["decrypt", "client", "C2"]);
    assert!(error.contains("client C2: column tax_number: the value was changed or moved"), "{error}");
    // Without the right to be recorded, nothing can be read.
    query(&owner, "revoke insert on etl.audit from small_etl_ingest; revoke insert (action, load_id, detail) on etl.audit from small_etl_ingest").await;
    let (clear, error) = small_etl(&world, &["decrypt", "client"]);
    assert!(
        clear.is_empty()
            && error.contains(
                "lacks a right; grant it: Postgres answered SQLSTATE 42501: permission denied for table audit"
            ),
        "{clear}{error}"
    );
}

/// The limits of an encryption that gives equal bytes for equal values; SECURITY.md names them.
#[tokio::test]
async fn without_the_key_lengths_show_and_guesses_can_be_confirmed() {
    let folder = Scratch::new("clients");
    let world = clients(&folder).await;
    // Returns the outcomes of the rows of a file.
    let load = async |name: &str, content: String| {
        let key = format!("incoming/clients/{name}.csv");
        world.put(&key, content).await;
        let (answer, error) = small_etl(&world, &["load", &format!("s3://{}/{key}", world.bucket), "--json"]);
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{error}"));
        ["inserted", "updated", "unchanged"].map(|outcome| answer["loads"][0][outcome].as_i64().unwrap())
    };
    assert_eq!(load("1", CLIENTS.replace("C2,canary-2", "C2,canary-1")).await, [2, 0, 0]);
    let owner = World::admin_url(&world);
    let stored = "select encode(tax_number, 'hex') from client order by client_id";
    let before = query(&owner, stored).await;
    let lengths = "select octet_length(tax_number), octet_length(\"limit\") from client order by client_id";
    let expected = format!("{0} | {1}\n{0} | -", "canary-1".len() + 37, "100.50".len() + 37);
    assert_eq!(query(&owner, lengths).await, expected);
    let (one, two) = before.split_once('\n').unwrap();
    assert_ne!(one, two, "equal values of two rows are different bytes");

    let guess = |tax: &str, minute: u8| {
        format!("client_id,tax_number,limit,seen_at\nC1,{tax},100.5,2025-12-22T14:{minute}:00\n")
    };
    assert_eq!(load("2", guess("canary-1", 30)).await, [0, 0, 1], "counts tell a right guess");
    assert_eq!(load("3", guess("canary-1", 31)).await, [0, 1, 0]);
    assert_eq!(query(&owner, stored).await, before, "a right guess leaves the bytes as they are");
    assert_eq!(load("4", guess("canary-9", 32)).await, [0, 1, 0]);
    assert_ne!(query(&owner, stored).await, before);
}

#[tokio::test]
async fn an_alias_that_names_another_key_tomorrow_loses_nothing() {
    let folder = Scratch::new("clients");
    let world = clients(&folder).await;
    let kms = moto().kms();
    let key = async || kms.create_key().send().await.unwrap().key_metadata.unwrap().key_id;
    let alias = format!("alias/{}", world.bucket);
    kms.create_alias().alias_name(&alias).target_key_id(key().await).send().await.unwrap();
    let world = world.under_variables(&[("ENCRYPTION__KMS_KEY", &alias)]);
    world.put("incoming/clients/1.csv", CLIENTS).await;
    let place = format!("s3://{}/incoming/clients/1.csv", world.bucket);
    small_etl(&world, &["load", &place]);
    kms.update_alias().alias_name(&alias).target_key_id(key().await).send().await.unwrap();
    let (clear, error) = small_etl(&world, &["decrypt", "client", "C1"]);
    assert_eq!(clear, "client_id,tax_number,limit\nC1,canary-1,100.50\n", "{error}");
    let (answer, error) = small_etl(&world, &["load", &place, "--json", "--again"]);
    assert!(answer.contains("\"unchanged\":2"), "{answer}{error}");
}

#[tokio::test]
async fn without_a_key_nothing_is_loaded_in_the_clear() {
    let folder = Scratch::new("clients");
    let world = clients(&folder).await.under_variables(&[("ENCRYPTION__KMS_KEY", "")]);
    world.put("incoming/clients/1.csv", CLIENTS).await;
    let (_, error) = small_etl(&world, &["load", &format!("s3://{}/incoming/clients/1.csv", world.bucket)]);
    assert!(error.contains("KMS refused") || error.contains("set encryption.kms_key"), "{error}");
    assert_eq!(world.query("select count(*) from client").await, "0");
}

#[tokio::test]
async fn a_table_in_the_clear_is_refused_for_an_encrypted_column() {
    let folder = Scratch::new("clients");
    let world = clients(&folder).await;
    query(&World::admin_url(&world), "alter table client alter tax_number type text using ''").await;
    world.put("incoming/clients/1.csv", CLIENTS).await;
    let error = world.try_load("incoming/clients/1.csv").await.unwrap_err();
    assert!(
        error.to_string().contains("column tax_number of table client must be bytea, since it is encrypted"),
        "{error}"
    );
}

#[tokio::test]
async fn a_rule_reaches_no_file_no_variable_and_no_network() {
    for check in [
        "(select count(*) from read_csv('/etc/passwd')) > 0",
        "read_text('/etc/passwd') is not null",
        "getenv('DATABASE_URL') is not null",
        "(select count(*) from 'http://127.0.0.1/x.csv') > 0",
        "(select count(*) from duckdb_settings()) > 0",
    ] {
        let rule = format!("\n[[rule]]\nid = \"spy\"\ncolumn = \"seen_at\"\ncheck = \"{check}\"\nmessage = \"x\"\n");
        let folder = Scratch::new("spy");
        fs::write(folder.path().join("client.toml"), CLIENT.replace("encrypt = true\n", "") + &rule).unwrap();
        fs::write(folder.path().join("clients.csv"), CLIENTS).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_small-etl"))
            .args(["validate", "clients.csv", "--dataset", "client"])
            .env("SMALL_ETL__DATASETS__PATH", folder.path())
            .current_dir(folder.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(3) && error.contains("rule spy"), "{check}: {output:?}");
    }
}

/// A value is encrypted together with the key of its row.
#[tokio::test]
async fn rows_with_encrypted_values_get_no_new_content_keys() {
    let folder = Scratch::new("security");
    let define = |content: &str| {
        let key = format!("key = \"content\"\ncontent = [{content}]");
        let definition =
            CLIENT.replace("key = \"client_id\"", &key).replace("version = \"seen_at\"", "version = \"arrival\"");
        fs::write(folder.path().join("client.toml"), definition).unwrap();
    };
    let world = clients(&folder).await;
    define("\"client_id\"");
    query(
        &world.admin_url(),
        "alter table public.client drop constraint client_pkey, add column content_key text primary key; grant select, insert, update on public.client to small_etl_ingest",
    )
    .await;
    let world = world.under(&[]);
    world.put("incoming/clients/1.csv", CLIENTS).await;
    // Another process, which may use the key.
    world.worker("incoming/clients/1.csv", None).finish().await.unwrap().unwrap();
    define("\"client_id\", \"seen_at\"");
    let (_, refused) = small_etl(&world, &["rekey", "client"]);
    assert!(
        refused.contains("the values of column tax_number are encrypted together with the keys of their rows"),
        "{refused}"
    );
}
