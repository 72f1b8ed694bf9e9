// SPDX-License-Identifier: Apache-2.0
//
// hello.cpp - the C header from C++17: handles as unique_ptr, callbacks as lambdas
//
//     c++ -std=c++17 hello.cpp $(pkg-config --cflags --libs boxlite) -o hello && ./hello
//
#define BOXLITE_NO_LEGACY_NAMES // "Execution" shall be a type here
#include <boxlite.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

namespace
{

template <auto Free> struct Deleter {
    template <typename T> void operator()(T *handle) const
    {
        Free(handle);
    }
};
using Runtime = std::unique_ptr<CBoxliteRuntime, Deleter<boxlite_runtime_free>>;
using Box = std::unique_ptr<CBoxHandle, Deleter<boxlite_box_free>>;
using Execution = std::unique_ptr<CExecutionHandle, Deleter<boxlite_execution_free>>;

// Throws what a failed call has said.
void check(BoxliteErrorCode code, CBoxliteError &error)
{
    if (code == BOXLITE_OK)
        return;
    std::string text = error.message ? error.message : "out of memory";
    boxlite_error_free(&error);
    throw std::runtime_error(text);
}

struct State {
    Box box;
    std::string output, failure;
    int exit_code = -1;
    bool done = false;
};

} // namespace

int main()
try {
    CBoxliteError error{};
    CBoxliteRuntime *opened = nullptr;
    CBoxliteOptions *options = nullptr;
    State state;

    check(boxlite_runtime_new(nullptr, nullptr, 0, &opened, &error), error);
    Runtime runtime(opened);
    check(boxlite_options_new("busybox", &options, &error), error);
    auto on_box = [](CBoxHandle *box, CBoxliteError *failure, void *data) {
        auto &self = *static_cast<State *>(data);
        self.box.reset(box);
        self.failure = failure ? failure->message : "";
    };
    check(boxlite_create_box(runtime.get(), options, on_box, &state, &error), error);
    while (!state.box) {
        if (boxlite_runtime_drain(runtime.get(), -1, &error) < 0 || !state.failure.empty())
            throw std::runtime_error("create: " + state.failure);
    }

    const char *args[] = {"Hello from C++"};
    BoxliteCommand command{};
    command.command = "echo";
    command.args = args;
    command.argc = 1;
    CExecutionHandle *started = nullptr;
    check(boxlite_box_exec(state.box.get(), &command, &started, &error), error);
    Execution execution(started);
    boxlite_execution_on_stdout(
        execution.get(),
        [](const uint8_t *data, size_t length, void *self) {
            static_cast<State *>(self)->output.append(reinterpret_cast<const char *>(data), length);
        },
        &state, nullptr);
    boxlite_execution_on_exit(
        execution.get(),
        [](int code, void *self) {
            static_cast<State *>(self)->exit_code = code;
            static_cast<State *>(self)->done = true;
        },
        &state, nullptr);
    while (!state.done)
        if (boxlite_runtime_drain(runtime.get(), -1, &error) < 0)
            throw std::runtime_error("drain");
    std::printf("%sexit code %d\n", state.output.c_str(), state.exit_code);
    return 0;
} catch (const std::exception &problem) {
    std::fprintf(stderr, "hello: %s\n", problem.what());
    return 1;
}
