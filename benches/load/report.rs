//! `BENCHMARKS.md` and its plot.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use plotters::prelude::*;

use crate::Sizes;
use crate::figures::{Figures, Line};
use crate::sections::{Points, versions};
use crate::world::World;

const PLOT: &str = "docs/benchmark.svg";
const TOOLS: [(&str, RGBColor); 6] = [
    ("small-etl", RGBColor(0, 90, 160)),
    ("psql", RGBColor(120, 120, 120)),
    ("copy", RGBColor(190, 190, 190)),
    ("sling", RGBColor(200, 90, 0)),
    ("pgloader", RGBColor(0, 130, 60)),
    ("dlt", RGBColor(150, 0, 120)),
];

/// Writes both into the checkout.
pub async fn write(world: &World, sizes: &Sizes, lines: &[Line], points: &Points) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    plot(&root.join(PLOT), points);
    let server: String = world.admin.query_one("show server_version", &[]).await.expect("ask the server").get(0);
    let mut text = format!(
        "# Benchmarks\n\n\
         Written by `make bench`; every figure is the median of {} runs in turn in one session after one to warm up, with the \
         lowest and the highest in brackets, unless the line says otherwise. Ratios are taken run by run. Trust the ratios more than \
         the seconds: they come from one machine, with Postgres, the S3 server and the tool on the same cores.\n\n\
         | | |\n| --- | --- |\n{}| Postgres | {server}, default settings but `max_wal_size = 4GB` |\n| peers | {} |\n\n\
         Small ETL runs as on AWS: the `ingest` binary under the Lambda runtime emulator reads the file from an S3 server and checks \
         every rule. psql, sling, pgloader and dlt read it from disk and check nothing. `copy` is what nobody who writes to this table undercuts: two \
         `psql`, each with half of the file and one `\\copy` straight into the table, which no second load would survive. The table has its five indexes and its foreign \
         key; how each peer is set up, and in what it differs, stands in `benches/peers/`.\n\n\
         | work | Small ETL | beside | figure | bound | |\n| --- | --- | --- | --- | --- | --- |\n",
        sizes.runs,
        machine(),
        versions().replace('\n', ", "),
    );
    for line in lines {
        let Line { work, own, other, figure, bound, .. } = line;
        writeln!(text, "| {work} | {own} | {other} | {figure} | {bound} | {} |", line.verdict())
            .expect("write to a string");
    }
    text.push_str("\n## Time against rows\n\n![time against rows](docs/benchmark.svg)\n\n| rows |");
    let mut rows: Vec<u64> = points.iter().map(|(_, rows, _)| *rows).collect();
    rows.sort_unstable();
    rows.dedup();
    for (tool, _) in TOOLS {
        write!(text, " {tool} |").expect("write to a string");
    }
    writeln!(text, "\n| --- |{}", " --- |".repeat(TOOLS.len())).expect("write to a string");
    for rows in rows {
        write!(text, "| {rows} |").expect("write to a string");
        for (tool, _) in TOOLS {
            let found = points.iter().find(|(name, count, _)| *name == tool && *count == rows);
            let figure = found.map_or("-".into(), |(_, _, figures)| format!("{figures} s"));
            write!(text, " {figure} |").expect("write to a string");
        }
        text.push('\n');
    }
    std::fs::write(root.join("BENCHMARKS.md"), text).expect("write BENCHMARKS.md");
    println!("wrote BENCHMARKS.md and {PLOT}");
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or("unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_once(':').map_or("unknown".into(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let commit = output("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"]);
    format!(
        "| commands | `make bench`, at {commit} |\n| machine | {}, {cores} cores, memory {}, Linux {} |\n\
         | compiler | {}, profile dev (opt-level 2, DuckDB at 3) |\n",
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        output("uname", &["-r"]),
        output("rustc", &["--version"]),
    )
}

fn plot(path: &Path, points: &Points) {
    let most = |of: fn(&(&'static str, u64, Figures)) -> f64| points.iter().map(of).fold(0.0, f64::max);
    let (rows, seconds) = (most(|point| point.1 as f64), most(|point| point.2.max()));
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
            .filter(|(name, ..)| *name == tool)
            .map(|(_, rows, figures)| (*rows as f64, figures.median()))
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
