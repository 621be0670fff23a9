//! Sample files for demos, tests and benchmarks. The same seed makes the same bytes.

use std::io::{self, Write};

use chrono::{DateTime, Duration, NaiveDateTime};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct SampleOptions {
    /// The number of records.
    pub rows: u64,
    /// The number of accounts that trades may belong to.
    pub accounts: u64,
    /// The seed of the random numbers.
    pub seed: u64,
    /// Break every Nth record, each in another way; 0 breaks none.
    pub broken_every: u64,
}

const FIRST_ACCOUNT: u64 = 10_000_000_001;
const STRATEGIES: [&str; 7] = ["策略A", "策略B", "策略C", "量化1号", "量化2号", "高频策略", "趋势跟踪"];
const REMARKS: [&str; 7] = ["正常交易", "网格交易", "止盈", "止损", "建仓", "平仓", ""];
const PREFIXES: [&str; 6] = ["600", "601", "603", "000", "002", "300"];

/// Writes assets, one row for each of the first `rows` accounts.
///
/// # Errors
/// The errors of `out`.
pub fn assets(out: &mut dyn Write, options: SampleOptions) -> io::Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    writeln!(out, "id,account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at")?;
    for index in 0..options.rows {
        let cash: u64 = random.random_range(1_000_000..=100_000_000);
        let frozen = cash * random.random_range(0..=30) / 100;
        let market = cash * random.random_range(0..=200) / 100;
        let updated_at = time(now() - Duration::seconds(random.random_range(0..3600)));
        let mut cells = [
            (index + 1).to_string(),
            (FIRST_ACCOUNT + index).to_string(),
            account_type(index).to_string(),
            money(cash),
            money(frozen),
            money(market),
            money(cash + frozen + market),
            updated_at,
        ];
        if let Some(kind) = broken(index, options.broken_every) {
            match kind % 4 {
                0 => cells[6] = money(cash + frozen + market + 1),
                1 => cells[2] = "4".into(),
                2 => cells[7].push_str("+08:00"),
                _ => cells[3] = "1,000.00".into(),
            }
        }
        write_record(out, &cells)?;
    }
    Ok(())
}

/// Writes trades of the first `accounts` accounts.
///
/// # Errors
/// The errors of `out`.
pub fn trades(out: &mut dyn Write, options: SampleOptions) -> io::Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    writeln!(
        out,
        "id,account_id,account_type,traded_id,stock_code,traded_time,traded_price,traded_volume,traded_amount,\
         strategy_name,order_remark,direction,offset_flag,created_at,updated_at"
    )?;
    for index in 0..options.rows {
        let account = random.random_range(0..options.accounts.max(1));
        let price: u64 = random.random_range(500..=20_000);
        let volume = random.random_range(1..=50) * 100;
        let code = format!("{}{:03}", PREFIXES[random.random_range(0..PREFIXES.len())], random.random_range(0..1000));
        let traded = time(now() - Duration::seconds(random.random_range(0..48 * 3600)));
        let updated = time(now() - Duration::seconds(random.random_range(0..3600)));
        let mut cells = [
            (index + 1).to_string(),
            (FIRST_ACCOUNT + account).to_string(),
            account_type(account).to_string(),
            format!("T20251222{:08}", index + 1),
            code,
            traded.clone(),
            money(price),
            volume.to_string(),
            money(price * volume),
            STRATEGIES[random.random_range(0..STRATEGIES.len())].into(),
            REMARKS[random.random_range(0..REMARKS.len())].into(),
            "0".into(),
            if random.random_ratio(1, 2) { "48" } else { "49" }.into(),
            traded,
            updated,
        ];
        if let Some(kind) = broken(index, options.broken_every) {
            match kind % 5 {
                0 => cells[6] = "15.555".into(),
                1 => cells[7] = "100.7".into(),
                2 => cells[5] = "2025-02-30T10:00:00".into(),
                3 => cells[1].clear(),
                _ => cells[10] = "half, a remark".into(),
            }
        }
        write_record(out, &cells)?;
    }
    Ok(())
}

fn write_record(out: &mut dyn Write, cells: &[String]) -> io::Result<()> {
    writeln!(out, "{}", cells.join(","))
}

/// Returns how many records were broken before this one, or `None` if this one is not to be broken.
fn broken(index: u64, every: u64) -> Option<u64> {
    (every > 0 && index % every == every - 1).then(|| index / every)
}

/// 60% securities, 20% credit, 20% futures. The same account always has the same type.
fn account_type(account: u64) -> u8 {
    match account.wrapping_mul(2_654_435_761) % 10 {
        0..6 => 2,
        6..8 => 3,
        _ => 1,
    }
}

/// 2025-12-22T15:00:00.
fn now() -> NaiveDateTime {
    DateTime::from_timestamp(1_766_415_600, 0).unwrap_or_default().naive_utc()
}

fn time(time: NaiveDateTime) -> String {
    time.format("%Y-%m-%dT%H:%M:%S").to_string()
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_bytes() {
        let make = |seed| {
            let mut out = Vec::new();
            trades(&mut out, SampleOptions { rows: 50, accounts: 5, seed, broken_every: 10 }).unwrap();
            out
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn the_sample_day_is_the_one_of_the_contract() {
        assert_eq!(time(now()), "2025-12-22T15:00:00");
    }
}
