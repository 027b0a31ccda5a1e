//! The proof itself: its boundaries by hand and by trying, and that it finds what is wrong.

use ramekin::convert::Conversion;
use ramekin::format::{FLOAT32, NAMED};
use ramekin::isa::Level;
use ramekin::reference;
use ramekin::verify::{self, Boundary, Counterexample, INPUTS, Samples, check_decode, is_verifiable, sweep};
use ramekin::{FloatFormat, Rounding};

fn named(name: &str) -> &'static FloatFormat {
    FloatFormat::named(name).unwrap()
}

fn with(rounding: Rounding, saturate: bool) -> Conversion {
    Conversion { rounding, saturate, ..Conversion::default() }
}

fn boundaries(format: &FloatFormat, options: Conversion) -> Vec<Boundary> {
    verify::boundaries(format, options).unwrap()
}

/// The right code of a bit pattern, as the runs say.
fn lookup(runs: &[Boundary], bits: u32) -> u32 {
    runs[runs.partition_point(|run| run.first <= bits) - 1].code
}

/// The first float32 of the run that has `code`.
fn first(runs: &[Boundary], code: u32) -> u32 {
    let [run] = runs.iter().filter(|run| run.code == code).collect::<Vec<_>>()[..] else {
        panic!("code {code:#x} does not have one run")
    };
    run.first
}

#[test]
fn boundaries_of_e4m3fn_by_hand() {
    let runs = boundaries(named("float8_e4m3fn"), Conversion::default());
    // 127 magnitudes and NaN, of either sign.
    assert_eq!(runs.len(), 256);
    assert_eq!(runs[0], Boundary { first: 0, code: 0 });
    let after = |x: f32| x.to_bits() + 1;
    // The tie 2^-10 between 0 and the smallest subnormal, 2^-9, goes to 0; that between 1 and 2 of those to 2.
    assert_eq!(first(&runs, 0x01), after(2f32.powi(-10)));
    assert_eq!(first(&runs, 0x02), (3.0 * 2f32.powi(-10)).to_bits());
    // 1 begins at its tie with 0.9375, 1.125 after its tie with 1.
    assert_eq!(first(&runs, 0x38), 0.96875f32.to_bits());
    assert_eq!(first(&runs, 0x39), after(1.0625));
    // 448 is the last; 464 is the tie with the missing 480, which is odd.
    assert_eq!(first(&runs, 0x7e), 432f32.to_bits());
    assert_eq!(first(&runs, 0x7f), after(464.0));
    assert_eq!(first(&runs, 0x80), (-0f32).to_bits());
    assert_eq!(first(&runs, 0xb9), after(-1.0625));

    let runs = boundaries(named("float8_e4m3fn"), with(Rounding::TowardZero, false));
    assert_eq!(first(&runs, 0x39), 1.125f32.to_bits());
    // Finite numbers stop at 448; only infinity and NaN give NaN.
    assert_eq!(first(&runs, 0x7f), f32::INFINITY.to_bits());

    let runs = boundaries(named("float8_e4m3fn"), with(Rounding::TowardPositive, true));
    assert_eq!(first(&runs, 0x01), 1);
    assert_eq!(first(&runs, 0x7e), after(416.0));
    assert_eq!(first(&runs, 0x7f), after(f32::INFINITY));
    assert_eq!(first(&runs, 0x80), (-0f32).to_bits());
    // -2^-9 is the first negative number that does not round up to -0.
    assert_eq!(first(&runs, 0x81), (-(2f32.powi(-9))).to_bits());
}

#[test]
fn boundaries_where_codes_come_back() {
    // E8M0: NaN for zero, from overflow on, and for all negative numbers.
    let runs = boundaries(named("float8_e8m0fnu"), Conversion::default());
    assert_eq!(runs[..2], [Boundary { first: 0, code: 0xff }, Boundary { first: 1, code: 0 }]);
    assert_eq!(lookup(&runs, 1f32.to_bits()), 127);
    assert_eq!(runs.last(), Some(&Boundary { first: (1.5 * 2f32.powi(127)).to_bits(), code: 0xff }));
    // fnuz: -0 and what rounds to it is +0, before and after the code of NaN.
    let runs = boundaries(named("float8_e4m3fnuz"), Conversion::default());
    let negative = runs.iter().position(|run| run.first == 1 << 31).unwrap();
    let after = (-(2f32.powi(-11))).to_bits() + 1;
    assert_eq!(
        runs[negative - 1..negative + 2].iter().map(|run| run.code).collect::<Vec<_>>(),
        [0x80, 0, 0x81]
    );
    assert_eq!(runs[negative + 1].first, after);
    // fp4 has no NaN: it becomes a zero of the other sign, infinity the largest number.
    let runs = boundaries(named("float4_e2m1fn"), Conversion::default());
    assert_eq!([0x7f80_0000, 0x7f80_0001, 0xff80_0000, 0xff80_0001].map(|x| lookup(&runs, x)), [7, 8, 15, 0]);
}

/// The runs say of any input what the reference says.
#[test]
fn boundaries_agree_with_the_reference_between_them() {
    for format in &NAMED {
        for rounding in Rounding::DETERMINISTIC {
            for saturate in [false, true] {
                if saturate && format.bits() > 16 {
                    continue; // a quarter of a million boundaries: once per direction is enough
                }
                let options = with(rounding, saturate);
                let runs = boundaries(format, options);
                assert!(runs.windows(2).all(|w| w[0].first < w[1].first && w[0].code != w[1].code));
                for bits in (0..=u32::MAX).step_by(1_500_007) {
                    let right = reference::encode(format, options, f32::from_bits(bits).into());
                    assert_eq!(lookup(&runs, bits), right, "{format} {options:?} {bits:#x}");
                }
            }
        }
    }
}

#[test]
fn every_level_is_right_on_samples_and_codes() {
    for format in &NAMED {
        for rounding in Rounding::DETERMINISTIC {
            let options = with(rounding, false);
            let samples = Samples::new(&boundaries(format, options));
            for level in Level::available() {
                for outcome in [
                    samples.check_encode(level, format, options).unwrap(),
                    samples.check_round_to(level, format, options).unwrap(),
                ] {
                    assert_eq!((outcome.checked, outcome.first), (samples.len() as u64, None), "{format}");
                }
            }
        }
        for level in Level::available() {
            let outcome = check_decode(level, format);
            assert_eq!((outcome.checked, outcome.first), (1 << format.bits(), None), "{format} {level}");
        }
    }
}

/// From the subnormals of e5m2 to its first normal numbers and around infinity, cut at odd places.
#[test]
fn sweeps_of_ranges_are_right() {
    let format = named("float8_e5m2");
    for range in [0..3, 0x3780_0001..0x3880_0007, 0x7f7f_0003..0x8000_0005, INPUTS - 12_345..INPUTS, 7..7] {
        for level in Level::available() {
            let runs = boundaries(format, Conversion::default());
            let outcome = sweep(level, format, Conversion::default(), &runs, range.clone()).unwrap();
            assert_eq!((outcome.checked, outcome.wrong), (range.end - range.start, 0), "{outcome:?}");
        }
    }
}

/// A kernel that is right, judged by a table that is wrong, fails as a wrong kernel would.
#[test]
fn a_wrong_answer_is_found() {
    let format = named("float8_e4m3fn");
    let options = Conversion::default();
    let runs = boundaries(format, options);
    let one = runs.iter().position(|run| run.code == 0x38).unwrap();
    let tie = runs[one].first;

    // The boundary one input too late: a single wrong answer.
    let mut late = runs.clone();
    late[one].first += 1;
    let single = Some(Counterexample { input: tie, got: 0x38, expected: 0x37 });
    let range = 0x3f00_0000..0x4000_0000;
    for level in Level::available() {
        let outcome = sweep(level, format, options, &late, range.clone()).unwrap();
        assert_eq!((outcome.checked, outcome.wrong, outcome.first), (1 << 24, 1, single));
        let outcome = Samples::new(&late).check_encode(level, format, options).unwrap();
        assert_eq!((outcome.wrong, outcome.first), (1, single));
    }

    // A whole run wrong, across the pieces that threads take, and the next one too.
    let mut swapped = runs.clone();
    (swapped[one].code, swapped[one + 1].code) = (0x39, 0x38);
    let wrong = u64::from(runs[one + 2].first - tie);
    let outcome = sweep(Level::Portable, format, options, &swapped, range).unwrap();
    let first = Some(Counterexample { input: tie, got: 0x38, expected: 0x39 });
    assert_eq!((outcome.wrong, outcome.first), (wrong, first));

    // round_to is held against the codes, so a table of another direction is wrong for it.
    let zero = Samples::new(&boundaries(format, with(Rounding::TowardZero, false)));
    let outcome = zero.check_round_to(Level::Portable, format, options).unwrap();
    assert!(outcome.wrong > 100, "{outcome:?}");
}

#[test]
fn float32_is_not_verifiable() {
    assert!(!is_verifiable(&FLOAT32));
    assert!(NAMED.iter().all(is_verifiable));
}

/// Millions of numbers of the widest format, one by one.
#[test]
fn sweep_of_tfloat32_to_odd() {
    let (format, options) = (named("tfloat32"), with(Rounding::ToOdd, true));
    let runs = boundaries(format, options);
    // Every code of either sign, infinity excepted, into which all finite numbers and itself saturate.
    assert_eq!(runs.len(), 2 * (0x3fbff + 2));
    let level = Level::available().last().unwrap();
    let outcome = sweep(level, format, options, &runs, 0..1 << 26).unwrap();
    assert_eq!((outcome.checked, outcome.wrong), (1 << 26, 0), "{outcome:?}");
}
