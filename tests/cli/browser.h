// Opens a report as a user would, in a headless Chromium.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/cli/run_command.h"

namespace panda::test {

inline bool has_browser() {
  return std::system("command -v chromium >/dev/null 2>&1") == 0;
}

/// "pictures 42, broken 0, cropped 0, charts 4": what the browser shows of this page. Anything that it writes
/// to the console is a failure.
inline std::string seen_in_browser(std::string html) {
  const TemporaryDirectory folder;
  const std::string end = "</body>";
  html.insert(html.find(end),
              "<script>onload=()=>{const all=[...document.images];"
              "const cropped=i=>getComputedStyle(i).objectFit!='fill'||"
              "Math.abs(i.width/i.height/(i.naturalWidth/i.naturalHeight)-1)>.05;"
              "document.title='pictures '+all.length+', broken '+all.filter(i=>!i.naturalWidth).length+"
              "', cropped '+all.filter(cropped).length+"
              "', charts '+[...document.querySelectorAll('.panel "
              "svg')].filter(s=>s.getBoundingClientRect().height>50).length}"
              "</script>");
  folder.write("test.html", html);
  const std::string command =
      "timeout 120 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage "
      "--user-data-dir=" +
      folder.path("profile") + " --enable-logging=stderr --dump-dom file://" + folder.path("test.html") +
      " >" + folder.path("dom") + " 2>" + folder.path("log");
  EXPECT_EQ(std::system(command.c_str()), 0) << content_of(folder.path("log"));
  EXPECT_EQ(content_of(folder.path("log")).find("CONSOLE"), std::string::npos)
      << content_of(folder.path("log"));
  const std::string dom = content_of(folder.path("dom"));
  const size_t begin = dom.find("<title>pictures ");
  if (begin == std::string::npos) return dom.substr(0, 300);
  return dom.substr(begin + 7, dom.find("</title>") - begin - 7);
}

}  // namespace panda::test
