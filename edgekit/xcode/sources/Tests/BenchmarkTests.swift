import CoreML
import Foundation
import XCTest

/// Proves the model on this phone and times it. A model that computes something else is not timed.
final class BenchmarkTests: XCTestCase {
    /// An interval on the 99th percentile takes 299 runs.
    private static let runs = 300
    private static let loads = 20
    private static let warmUpRuns = 50

    /// On the units that the test plan's configuration names in EDGEKIT_COMPUTE_UNITS.
    private static let computeUnits = Result { () throws -> MLComputeUnits in
        let asked = ProcessInfo.processInfo.environment["EDGEKIT_COMPUTE_UNITS"] ?? "all"
        switch asked {
        case "all": return .all
        case "cpuOnly": return .cpuOnly
        case "cpuAndGPU": return .cpuAndGPU
        case "cpuAndNeuralEngine": return .cpuAndNeuralEngine
        default:
            throw Failure("EDGEKIT_COMPUTE_UNITS is \(asked): all, cpuOnly, cpuAndGPU or cpuAndNeuralEngine are known")
        }
    }

    private static let proof = Result { () throws -> (model: ReferenceModel, decibels: [Double]) in
        let model = try ReferenceModel(computeUnits: try computeUnits.get())
        return (model, try model.decibels())
    }

    func testParity() throws {
        let (model, decibels) = try Self.proof.get()
        note("SQNR against PyTorch", decibels.map { String(format: "%.1f dB", $0) }.joined(separator: ", "))
        for (index, found) in decibels.enumerated() {
            XCTAssertGreaterThanOrEqual(found, model.reference.boundDecibels, "SQNR in dB of reference input \(index)")
        }
    }

    func testLoad() throws {
        _ = try provedModel()
        let units = try Self.computeUnits.get()
        try measured(Self.loads) { _ = try ReferenceModel.load(computeUnits: units) }
    }

    /// One prediction a sample.
    func testPredict() throws {
        let model = try warmModel()
        try measured(Self.runs) { _ = try model.predict(model.inputs[0]) }
    }

    /// Twenty predictions without a pause a sample: edgekit reads the number in the name. XCTest's bookkeeping between
    /// samples lets the clocks drop, which a stream of predictions does not.
    func testPredict20InARow() throws {
        let model = try warmModel()
        try measured(Self.runs) {
            for _ in 0..<20 {
                _ = try model.predict(model.inputs[0])
            }
        }
    }

    private func warmModel() throws -> ReferenceModel {
        let model = try provedModel()
        for _ in 0..<Self.warmUpRuns {
            _ = try model.predict(model.inputs[0])
        }
        return model
    }

    private func provedModel() throws -> ReferenceModel {
        let (model, decibels) = try Self.proof.get()
        guard decibels.allSatisfy({ $0 >= model.reference.boundDecibels }) else {
            throw Failure("the model computes something else here (see testParity): it is not timed")
        }
        return model
    }

    /// Times `block`; XCTest leaves out one more run, the first. A hot phone, or one that saves power, is not measured.
    private func measured(_ runs: Int, _ block: () throws -> Void) throws {
        let state = ProcessInfo.processInfo
        if state.isLowPowerModeEnabled {
            throw Failure("the phone saves power: turn Low Power Mode off, then measure again")
        }
        if state.thermalState == .serious || state.thermalState == .critical {
            throw Failure("the phone is hot (\(Self.thermalState())): let it cool, then measure again")
        }
        let before = Self.thermalState()
        let options = XCTMeasureOptions()
        options.iterationCount = runs
        var failure: Error?
        measure(metrics: [XCTClockMetric(), XCTCPUMetric(), XCTMemoryMetric()], options: options) {
            autoreleasepool {
                do {
                    try block()
                } catch {
                    failure = error
                }
            }
        }
        note("thermal state", "before: \(before), after: \(Self.thermalState())")
        if let failure {
            throw failure
        }
    }

    /// Keeps a line in the result bundle, and prints it.
    private func note(_ name: String, _ text: String) {
        let attachment = XCTAttachment(string: text)
        attachment.name = name
        attachment.lifetime = .keepAlways
        add(attachment)
        print("edgekit: \(name): \(text)")
    }

    private static func thermalState() -> String {
        switch ProcessInfo.processInfo.thermalState {
        case .nominal: return "nominal"
        case .fair: return "fair"
        case .serious: return "serious"
        case .critical: return "critical"
        @unknown default: return "unknown"
        }
    }
}
