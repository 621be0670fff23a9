//! `BENCHMARKS.md` and its plot.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use plotters::prelude::*;

use crate::results::{Point, Results};

/// The sections, in the order in which they are measured and shown.
pub const SECTIONS: [&str; 11] =
    ["init", "small", "load", "modes", "rejects", "validate", "sources", "peers", "distance", "memory", "guess"];
const PLOT: &str = "docs/benchmark.svg";
const TOOLS: [(&str, RGBColor); 6] = [
    ("small-etl", RGBColor(0, 90, 160)),
    ("psql", RGBColor(120, 120, 120)),
    ("copy", RGBColor(190, 190, 190)),
    ("sling", RGBColor(200, 90, 0)),
    ("pgloader", RGBColor(0, 130, 60)),
    ("dlt", RGBColor(150, 0, 120)),
];

/// Writes the document and the plot into the checkout.
pub fn write(results: &Results) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::from(
        "# Benchmarks\n\n\
         Written by `make bench`. Unless a line says otherwise, a figure is the median of 5 runs after one warm-up run, with the \
         lowest and the highest in brackets, and the tools take turns. Ratios are taken run by run. Trust the ratios more than the \
         seconds: they come from one machine, with Postgres, the S3 server and the tool on the same cores. Sections may come from \
         different days; the last table says which.\n\n\
         Small ETL runs as on AWS: the `ingest` binary (profile dev: opt-level 2, DuckDB at 3) under the Lambda runtime emulator reads the \
         file from an S3 server and checks every rule. psql, sling, pgloader and dlt read it from disk and check nothing. `copy` shows how \
         fast this table can be filled at all: two `psql`, each with half of the file and one `\\copy` straight into the table. A second load of \
         the same file would fail. The table has its five indexes and its foreign key; Postgres has its default settings, except \
         `max_wal_size = 4GB`. `benches/peers/` shows how each peer is set up, and how it differs. `guess` is compared with readers that guess as well: a format is \
         asked where its questions were answered first, and wrong where a value, a row or a column is not the truth and nothing said so.\n\n\
         | work | Small ETL | beside | figure | bound | |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let measured = || SECTIONS.into_iter().filter_map(|name| Some((name, results.0.get(name)?)));
    for line in measured().flat_map(|(_, section)| &section.lines) {
        let verdict = line.verdict();
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {verdict} |",
            line.work, line.own, line.other, line.figure, line.bound
        )
        .expect("write to a string");
    }
    let points: Vec<&Point> = measured().flat_map(|(_, section)| &section.points).collect();
    if !points.is_empty() {
        plot(&root.join(PLOT), &points);
        text.push_str("\n## Time against rows\n\n![time against rows](docs/benchmark.svg)\n\n| rows |");
        for (tool, _) in TOOLS {
            write!(text, " {tool} |").expect("write to a string");
        }
        writeln!(text, "\n| --- |{}", " --- |".repeat(TOOLS.len())).expect("write to a string");
        for rows in points.iter().map(|point| point.rows).collect::<BTreeSet<u64>>() {
            write!(text, "| {rows} |").expect("write to a string");
            for (tool, _) in TOOLS {
                let found = points.iter().find(|point| point.tool == tool && point.rows == rows);
                let figure = found.map_or("-".into(), |point| format!("{} s", point.seconds));
                write!(text, " {figure} |").expect("write to a string");
            }
            text.push('\n');
        }
    }
    text.push_str("\n## When and where\n\n| section | at | on | machine |\n| --- | --- | --- | --- |\n");
    for name in SECTIONS {
        match results.0.get(name) {
            Some(of) => writeln!(text, "| {name} | {} | {} | {} |", of.commit, of.date, of.machine),
            None => writeln!(text, "| {name} | not measured yet | | |"),
        }
        .expect("write to a string");
    }
    std::fs::write(root.join("BENCHMARKS.md"), text).expect("write BENCHMARKS.md");
    println!("wrote BENCHMARKS.md and {PLOT}");
}

fn plot(path: &Path, points: &[&Point]) {
    let most = |of: fn(&&Point) -> f64| points.iter().map(of).fold(0.0, f64::max);
    let (rows, seconds) = (most(|point| point.rows as f64), most(|point| point.seconds.max()));
    let root = SVGBackend::new(path, (800, 480)).into_drawing_area();
    root.fill(&WHITE).expect("draw");
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d((8_000.0..rows * 1.2).log_scale(), (0.1..seconds * 1.3).log_scale())
        .expect("draw the axes");
    chart
        .configure_mesh()
        .x_desc("new trades")
        .y_desc("seconds")
        .x_label_formatter(&|rows| format!("{rows:.0}"))
        .y_label_formatter(&|seconds| format!("{seconds}"))
        .draw()
        .expect("draw the mesh");
    for (tool, colour) in TOOLS {
        let mut line: Vec<(f64, f64)> = points
            .iter()
            .filter(|point| point.tool == tool)
            .map(|point| (point.rows as f64, point.seconds.median()))
            .collect();
        line.sort_by(|one, other| one.0.total_cmp(&other.0));
        chart
            .draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)))
            .expect("draw a line")
            .label(tool)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], colour.stroke_width(2)));
        chart.draw_series(line.iter().map(|point| Circle::new(*point, 3, colour.filled()))).expect("draw points");
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.filled())
        .border_style(BLACK)
        .draw()
        .expect("draw the legend");
    root.present().expect("write the plot");
}
