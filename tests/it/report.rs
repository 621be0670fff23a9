//! The report of a load, as a browser shows it.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::contract::ASSETS;
use crate::support::Scratch;
use crate::world::World;

/// Shows the page in a frame and records what the browser made of it.
const MEASURE: &str = r#"<!doctype html><meta charset="utf-8"><script>
function measure(frame) {
  const page = frame.contentDocument;
  const all = (selector, map) => [...page.querySelectorAll(selector)].map(map);
  const result = {
    title: page.title,
    state: page.querySelector('.state').textContent,
    bars: Object.fromEntries(all('rect.bar', bar => [bar.classList[1], bar.getBoundingClientRect().width])),
    labels: all('svg[aria-label="bar chart of outcomes"] text', text => text.textContent),
    rules: all('h2 + table:not(.examples) tr', row => row.innerText).slice(0, 4),
    examples: all('table.examples td.what', cell => cell.innerText),
    steps: page.querySelector('.steps').getTotalLength() > 0,
    scripts: all('script, img, iframe', node => node.outerHTML),
    wider: page.documentElement.scrollWidth > frame.clientWidth,
    text: page.body.innerText,
  };
  const out = document.createElement('pre');
  out.id = 'result';
  out.textContent = JSON.stringify(result);
  document.body.replaceChildren(out);
}
</script><iframe width="WIDTH" height="2000" onload="measure(this)" srcdoc="PAGE"></iframe>"#;

fn browser() -> &'static str {
    let starts =
        |name: &&&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    ["chromium-headless-shell", "chromium", "google-chrome"]
        .iter()
        .find(starts)
        .expect("Chromium is installed; `make setup` installs it")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;")
}

/// Returns what a headless Chromium makes of `page` in a window of this width in pixels.
fn shown(page: &str, width: u32) -> Value {
    let scratch = Scratch::new("report");
    let path = scratch.path().join("measure.html");
    fs::write(&path, MEASURE.replace("WIDTH", &width.to_string()).replace("PAGE", &escaped(page))).unwrap();
    let output = Command::new(browser())
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--virtual-time-budget=2000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", scratch.path().join("profile").display()))
        .arg(format!("file://{}", path.display()))
        .output()
        .expect("start Chromium");
    let text = String::from_utf8(output.stdout).unwrap();
    let result = text.split_once("<pre id=\"result\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let (result, _) = result.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)));
    let plain = result.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&");
    serde_json::from_str(&plain).unwrap()
}

#[tokio::test]
async fn a_browser_shows_the_report_with_true_lengths_and_runs_nothing_in_it() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "10")]).await;
    let hostile = r#""<script>document.title='owned'</script><img src=x onerror=""document.title='owned'"">""#;
    let mut file = String::from(ASSETS.lines().next().unwrap()) + "\n";
    for row in 0..60 {
        let (kind, sum) = if row < 40 {
            ("2", "1")
        } else if row < 59 {
            ("2", "2")
        } else {
            (hostile, "1")
        };
        writeln!(file, "{row},A{row},{kind},1,0,0,{sum},2025-12-22T14:30:00").unwrap();
    }
    world.drop_file("incoming/assets/1.csv", file).await;
    let page = world.get(&world.bucket, "rejects/asset/1.html").await;
    let seen = shown(&page, 1000);
    assert_eq!((&seen["title"], &seen["state"]), (&Value::from("Load 1: 1.csv"), &Value::from("loaded")), "{seen}");
    let bar = |name: &str| seen["bars"][name].as_f64().unwrap();
    assert!((bar("inserted") / bar("rejected") - 2.0).abs() < 0.01, "{}", seen["bars"]);
    assert!(bar("inserted") > 300.0 && bar("parked") == 0.0, "{}", seen["bars"]);
    assert!(seen["labels"].as_array().unwrap().contains(&Value::from("20 (33.33%)")), "{}", seen["labels"]);
    let rules = seen["rules"].to_string();
    assert!(rules.contains(r"total_asset\ttotal_is_sum\t19\t31.67%\t19"), "{rules}");
    assert!(rules.contains(r"account_type\tinteger\t1\t1.67%\t1"), "{rules}");
    let examples = seen["examples"].as_array().unwrap();
    assert_eq!(examples.len(), 20);
    assert!(examples[19].as_str().unwrap().contains("<script>document.title='owned'</script>"), "{}", examples[19]);
    assert_eq!(
        (&seen["scripts"], &seen["steps"], &seen["wider"]),
        (&Value::Array(vec![]), &true.into(), &false.into())
    );
    let text = seen["text"].as_str().unwrap();
    assert!(text.contains("6 batches") && text.contains("The sum holds: 60 read = 40 inserted"), "{text}");
    assert_eq!(shown(&page, 400)["wider"], false, "it fits a narrow window");
    // The page fetches nothing.
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("url("), "{page}");
}

#[tokio::test]
async fn the_report_of_a_failed_file_says_why() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", "account_id\n1\n").await;
    let page = small_etl::services::report::page(&world.database, small_etl::domain::LoadId(1)).await.unwrap();
    assert!(page.contains("missing_column") && page.contains("the header lacks column account_type"), "{page}");
    assert!(page.contains("state failed"), "{page}");
}
