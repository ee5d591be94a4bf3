import CoreML
import Foundation

/// What went wrong, in words for the person at the Mac.
struct Failure: LocalizedError {
    let errorDescription: String?

    init(_ description: String) {
        errorDescription = description
    }
}

/// What the artifact was proved on: `EdgekitReference.json` says where each array lies in `EdgekitReference.bin`.
struct Reference: Decodable {
    struct Tensor: Decodable {
        enum Kind: String, Decodable {
            case float32
            case int32
        }

        let dtype: Kind
        let shape: [Int]
        /// In bytes from the start of `EdgekitReference.bin`.
        let offset: Int

        var count: Int { shape.reduce(1, *) }
    }

    struct Sample: Decodable {
        let inputs: [String: Tensor]
        let outputs: [String: Tensor]
    }

    enum CodingKeys: String, CodingKey {
        case model
        case boundDecibels = "bound_sqnr_db"
        case samples
    }

    let model: String
    let boundDecibels: Double
    let samples: [Sample]
}

/// The artifact on some compute units, with what it was proved on.
final class ReferenceModel {
    let reference: Reference
    /// The inputs of each reference sample, ready to be predicted.
    let inputs: [MLFeatureProvider]
    private let model: MLModel
    private let arrays: Data

    init(computeUnits: MLComputeUnits) throws {
        reference = try JSONDecoder().decode(Reference.self, from: Data(contentsOf: try Self.file("EdgekitReference", "json")))
        arrays = try Data(contentsOf: try Self.file("EdgekitReference", "bin"), options: .mappedIfSafe)
        model = try Self.load(computeUnits: computeUnits)
        var made: [MLFeatureProvider] = []
        for sample in reference.samples {
            var features: [String: MLFeatureValue] = [:]
            for (name, tensor) in sample.inputs {
                features[name] = MLFeatureValue(multiArray: try Self.input(name, tensor, of: model, from: arrays))
            }
            made.append(try MLDictionaryFeatureProvider(dictionary: features))
        }
        inputs = made
    }

    /// Opens the compiled model: what the load test times.
    static func load(computeUnits: MLComputeUnits) throws -> MLModel {
        let configuration = MLModelConfiguration()
        configuration.computeUnits = computeUnits
        return try MLModel(contentsOf: try file("Artifact", "mlmodelc"), configuration: configuration)
    }

    func predict(_ input: MLFeatureProvider) throws -> MLFeatureProvider {
        try model.prediction(from: input)
    }

    /// For each reference sample, the least signal-to-noise ratio of its outputs against PyTorch's, in decibels.
    func decibels() throws -> [Double] {
        try zip(reference.samples, inputs).map { sample, input in
            let found = try predict(input)
            return try sample.outputs.map { name, tensor in
                guard let array = found.featureValue(for: name)?.multiArrayValue else {
                    throw Failure("the model gives no array named \(name)")
                }
                guard array.shape.map(\.intValue) == tensor.shape else {
                    throw Failure("output \(name) has shape \(array.shape), not \(tensor.shape)")
                }
                return Self.decibels(of: array, against: try Self.values(of: tensor, from: arrays))
            }.min() ?? Self.identical
        }
    }

    /// Stands for "identical", as in edgekit's own records.
    private static let identical = 200.0

    /// 10 log10(sum r^2 / sum (r - o)^2), capped at +-200; -200 when not finite.
    private static func decibels(of output: MLMultiArray, against reference: [Double]) -> Double {
        var signal = 0.0
        var noise = 0.0
        for (index, expected) in reference.enumerated() {
            // By index, in C order: the Neural Engine pads its outputs, so memory is not read through.
            let difference = expected - output[index].doubleValue
            signal += expected * expected
            noise += difference * difference
        }
        guard noise.isFinite else { return -identical }
        if noise == 0 { return identical }
        if signal == 0 { return -identical }
        return min(max(10 * log10(signal / noise), -identical), identical)
    }

    /// The array that the model takes for an input, in the type it declares.
    private static func input(
        _ name: String, _ tensor: Reference.Tensor, of model: MLModel, from arrays: Data
    ) throws -> MLMultiArray {
        guard let constraint = model.modelDescription.inputDescriptionsByName[name]?.multiArrayConstraint else {
            throw Failure("the model takes no array named \(name)")
        }
        let shape = tensor.shape.map { NSNumber(value: $0) }
        let array = try MLMultiArray(shape: shape, dataType: constraint.dataType)
        for (index, value) in try values(of: tensor, from: arrays).enumerated() {
            array[index] = NSNumber(value: value)
        }
        return array
    }

    /// The numbers of a tensor, in C order. Both kinds fit into a Double exactly.
    private static func values(of tensor: Reference.Tensor, from arrays: Data) throws -> [Double] {
        guard tensor.offset >= 0, tensor.offset + 4 * tensor.count <= arrays.count else {
            throw Failure("EdgekitReference.bin is cut short: write the project again")
        }
        return arrays.withUnsafeBytes { bytes in
            (0..<tensor.count).map { index -> Double in
                let stored = bytes.loadUnaligned(fromByteOffset: tensor.offset + 4 * index, as: UInt32.self)
                let bits = UInt32(littleEndian: stored)
                switch tensor.dtype {
                case .float32: return Double(Float(bitPattern: bits))
                case .int32: return Double(Int32(bitPattern: bits))
                }
            }
        }
    }

    private static func file(_ name: String, _ suffix: String) throws -> URL {
        // The tests run inside the app: its bundle is the main one in both.
        guard let url = Bundle.main.url(forResource: name, withExtension: suffix) else {
            throw Failure("\(name).\(suffix) is not in the app: write the project again")
        }
        return url
    }
}
