use super::*;

fn rank(began: DateTime<Utc>) -> Sequencer {
    // As a message holds it.
    let began = began.with_nanosecond(0).unwrap();
    Sequencer::InListing { began, rank: 1, is_late: true }
}

fn fixture(name: &str) -> Value {
    let path = format!("{}/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn only(event: Value) -> Asked {
    match parse(event).unwrap() {
        Event::Files(mut asked) if asked.len() == 1 => asked.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_for_a_larger_machine_holds_one_text_and_comes_back_as_it_was() {
    let file = location(only(fixture("eventbridge-object-created")));
    let parts = ["a \"b\".csv".to_owned()];
    for message in
        [request_for(&file, None, false, &[]).unwrap(), request_for(&file, Some("trade"), true, &parts).unwrap()]
    {
        let wrapped = for_a_larger_machine(&message);
        let [text] = &wrapped.as_object().unwrap().values().collect::<Vec<_>>()[..] else { panic!("{wrapped}") };
        let asked = asked_for(text.as_str().unwrap()).unwrap();
        assert_eq!(asked, files(message, Sender::Queue).unwrap());
        assert_eq!(asked, asked_for(&wrapped.to_string()).unwrap());
    }
    assert!(asked_for("no json").unwrap_err().chain().contains("the message cannot be read"));
}

fn location(asked: Asked) -> Location {
    match asked {
        Asked::Load { location, .. } => location,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_notification_names_version_size_and_sequencer() {
    let Location::S3 { bucket, key, version_id, etag, size, sequencer, .. } = location(only(fixture("s3-put"))) else {
        panic!()
    };
    assert_eq!((bucket.as_str(), key.as_str()), ("small-etl-demo", "incoming/assets/assets.csv"));
    assert_eq!((version_id.as_deref(), size), (Some("3HL4kqtJvjVBH40Nrjfkd0S7QbWZyXcM"), Some(379)));
    assert!(etag.is_some() && sequencer.is_some());
}

#[test]
fn the_key_of_a_notification_is_decoded() {
    assert_eq!(location(only(fixture("s3-put-encoded-key"))).key().as_str(), "incoming/trades/交易 1+1.csv");
}

#[test]
fn the_key_of_an_eventbridge_event_is_not_decoded() {
    let mut event = fixture("eventbridge-object-created");
    event["detail"]["object"]["version-id"] = json!("v1");
    let Location::S3 { key, version_id, .. } = location(only(event)) else { panic!() };
    assert_eq!((key.as_str(), version_id.as_deref()), ("incoming/trades/a+b%20c.csv", Some("v1")));
}

#[test]
fn each_message_of_a_queue_holds_an_event_of_its_own() {
    let Event::Queue(messages) = parse(fixture("sqs-several-messages")).unwrap() else { panic!() };
    assert_eq!(messages.len(), 2);
    assert!(messages.iter().all(|message| matches!(message.asked.as_deref(), Ok([Asked::Load { .. }]))));
}

#[test]
fn a_message_that_cannot_be_read_does_not_hide_the_others() {
    let body = json!({"bucket": "b", "key": "k"}).to_string();
    let message = |id: &str, body: &str| json!({"eventSource": "aws:sqs", "messageId": id, "body": body, "attributes": {}, "messageAttributes": {}});
    let event = json!({"Records": [message("1", "no json"), message("2", &body)]});
    let Event::Queue(messages) = parse(event).unwrap() else { panic!() };
    assert!(messages[0].asked.is_err() && messages[1].asked.is_ok());
}

#[test]
fn records_of_kafka_are_one_batch_for_each_partition() {
    let Event::Files(asked) = parse(fixture("kafka")).unwrap() else { panic!() };
    let batches: Vec<_> = asked
        .into_iter()
        .map(|asked| match asked {
            Asked::Land { arrival: Arrival::Records(batch), dataset: None } => batch,
            other => panic!("{other:?}"),
        })
        .collect();
    let offsets = |batch: &RecordBatch| batch.records.iter().map(|record| record.offset).collect::<Vec<_>>();
    let places: Vec<_> = batches.iter().map(|batch| (batch.topic.as_str(), batch.partition, offsets(batch))).collect();
    assert_eq!(places, [("trades", 0, vec![15, 16, 17]), ("trades", 1, vec![4])]);
    assert!(batches[0].records[0].value.as_ref().unwrap().starts_with(b"{\"account_id\""));
    assert_eq!(batches[0].records[2].value, None);
    assert_eq!(batches[0].cluster.as_deref(), Some("0fc9a2f4"));
    let wrong = json!({"eventSource": "aws:kafka", "records": {"t-0": [{"topic": "t", "partition": 0, "offset": 7, "value": "?"}]}});
    assert!(parse(wrong).unwrap_err().to_string().contains("record 7 of topic t partition 0"));
}

#[test]
fn a_url_is_requested_directly_or_by_a_schedule() {
    let expected = Asked::Land {
        arrival: Arrival::from_url("https://broker.example/v1/trades.csv").unwrap(),
        dataset: Some("trade".into()),
    };
    assert_eq!(only(fixture("schedule-url")), expected);
    assert_eq!(only(fixture("schedule-url")["detail"].clone()), expected);
    assert!(parse(json!({"url": "file:///etc/passwd"})).unwrap_err().to_string().contains("https://HOST/PATH"));
    assert!(parse(json!({"url": "https://a.example/", "again": true})).unwrap_err().chain().contains("again"));
}

#[test]
fn a_schedule_and_a_direct_request_name_one_file() {
    assert_eq!(location(only(fixture("schedule"))), Location::s3("small-etl-demo", "incoming/assets/assets.csv"));
    assert_eq!(location(only(fixture("direct"))), Location::s3("small-etl-demo", "incoming/assets/assets.csv"));
}

#[test]
fn the_nightly_run_is_requested_directly_or_by_a_schedule() {
    assert_eq!(parse(fixture("reconcile")).unwrap(), Event::Reconcile(Scope::default()));
    let schedule = json!({"detail-type": "Scheduled Event", "detail": {"reconcile": {}}});
    assert_eq!(parse(schedule).unwrap(), Event::Reconcile(Scope::default()));
    let part = Scope { bucket: Some("small-etl-demo".into()), prefix: Some("incoming/trades/".into()) };
    assert_eq!(parse(fixture("reconcile-prefix")).unwrap(), Event::Reconcile(part));
    assert!(parse(json!({"reconcile": {"day": 1}})).unwrap_err().chain().contains("unknown field `day`"));
}

#[test]
fn a_direct_request_can_ask_for_a_check_alone_or_for_one_more_load() {
    let location = Location::s3("small-etl-demo", "incoming/assets/assets.csv");
    let check = Event::Validate { location: location.clone(), dataset: None };
    assert_eq!(parse(fixture("direct-validate-only")).unwrap(), check);
    let schedule = json!({"detail-type": "Scheduled Event", "detail": fixture("direct-validate-only")});
    assert_eq!(parse(schedule).unwrap(), check);
    let again = Asked::Load { location: location.clone(), dataset: None, again: true, parts: Vec::new() };
    assert_eq!(only(fixture("direct-again")), again);
    assert_eq!(only(request_for(&location, None, true, &[]).unwrap()), again);
    let both = json!({"bucket": "b", "key": "k", "again": true, "validate_only": true});
    assert!(parse(both).unwrap_err().to_string().contains("leave one of them out"));
}

#[test]
fn the_rest_of_a_load_is_requested_by_a_direct_request() {
    let rest = Location::S3 {
        bucket: "b".into(),
        key: "k".into(),
        version_id: Some("null".into()),
        etag: Some("0123".into()),
        size: Some(7),
        sequencer: Some(rank(Utc::now())),
        modified: DateTime::from_timestamp(1_766_413_800, 0),
    };
    let parts = vec!["a.csv".to_owned()];
    let request = request_for(&rest, Some("asset"), false, &parts).unwrap();
    let asked = asked_for(&request.to_string()).unwrap();
    assert_eq!(asked, [Asked::Load { location: rest, dataset: Some("asset".into()), again: false, parts }]);
    assert_eq!(request_for(&Location::File("x.csv".into()), None, false, &[]), None);
}

#[test]
fn what_orders_versions_is_taken_from_events_of_s3_and_from_messages_with_a_rank_of_the_past() {
    let told = location(only(fixture("s3-put")));
    let asked = only(request_for(&told, None, false, &[]).unwrap());
    assert_eq!(asked, Asked::Load { location: told.clone(), dataset: None, again: false, parts: Vec::new() });
    let tomorrow = Utc::now() + TimeDelta::days(1);
    for wrong in [json!("0055AED6DCD90281E5"), json!("FFFF"), json!(rank(tomorrow).to_string()), json!("#x")] {
        let request = json!({"bucket": "b", "key": "k", "sequencer": wrong, "modified": tomorrow});
        let asked = asked_for(&request.to_string()).unwrap().remove(0);
        assert_eq!(location(asked), Location::s3("b", "k"), "{wrong}");
    }
    let past = json!({"bucket": "b", "key": "k", "sequencer": rank(Utc::now()).to_string(), "modified": Utc::now()});
    for direct in [past.clone(), json!({"detail-type": "Scheduled Event", "detail": past})] {
        assert_eq!(location(only(direct)), Location::s3("b", "k"));
    }
    let Location::S3 { sequencer, .. } = location(only(request_for(&told, Some("asset"), true, &[]).unwrap())) else {
        panic!()
    };
    assert_eq!(sequencer, None);
}

#[test]
fn an_event_without_a_file_is_skipped() {
    assert_eq!(only(fixture("s3-test-event")), Asked::Skip("s3:TestEvent carries no file"));
    let mut removed = fixture("s3-put");
    removed["Records"][0]["eventName"] = json!("ObjectRemoved:Delete");
    assert!(matches!(only(removed), Asked::Skip(_)));
    for kind in ["Object Deleted", "Object Tags Added", "Object Restore Completed", "Object Storage Class Changed"] {
        let mut event = fixture("eventbridge-object-deleted");
        event["detail-type"] = json!(kind);
        assert!(matches!(only(event), Asked::Skip(_)), "{kind}");
    }
    let queued = json!({"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": fixture("eventbridge-object-deleted").to_string()}]});
    let Event::Queue(messages) = parse(queued).unwrap() else { panic!() };
    assert!(matches!(messages[0].asked.as_deref(), Ok([Asked::Skip(_)])));
}

#[test]
fn an_event_of_unknown_shape_is_answered_with_the_known_shapes() {
    let error = parse(json!({"hello": 1})).unwrap_err();
    assert!(error.to_string().contains("Object Created") && error.to_string().contains("aws:sqs"));
    assert!(parse(json!({"bucket": "b", "kye": "k"})).unwrap_err().chain().contains("kye"));
}
