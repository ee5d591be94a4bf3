import CoreML
import SwiftUI
import UIKit

/// Holds the model and its reference for the tests, which run inside it. By hand it proves the model on this phone.
@main
struct BenchmarkApp: App {
    var body: some Scene {
        WindowGroup {
            ProofView()
        }
    }
}

struct ProofView: View {
    @State private var report = ""

    var body: some View {
        VStack(spacing: 24) {
            Button("Prove the model on this phone") {
                report = Self.proof()
            }
            Text(report)
        }
        .padding()
        .onAppear {
            // A phone that locks itself ends the tests.
            UIApplication.shared.isIdleTimerDisabled = true
        }
    }

    private static func proof() -> String {
        do {
            let model = try ReferenceModel(computeUnits: .all)
            let worst = try model.decibels().min() ?? 0
            let verdict = worst >= model.reference.boundDecibels ? "pass" : "fail"
            return String(format: "%@: %.1f dB against PyTorch, %.1f needed: %@",
                          model.reference.model, worst, model.reference.boundDecibels, verdict)
        } catch {
            return error.localizedDescription
        }
    }
}
